package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// moduleRounds: a bus driver makes new devices appear, which ask for drivers in turn (PCI, virtio_pci,
// virtio_scsi, sd_mod).
const moduleRounds = 4

// alwaysModules are what no device asks for by alias. crc32c is what ext4 would ask modprobe for.
var alwaysModules = []string{"crc32c_intel", "crc32c_generic", "ext4", "xfs", "efivarfs", "ipmi_msghandler", "ipmi_si", "ipmi_ssif", "ipmi_devintf"}

// modules knows the kernel modules of the initramfs and which of them are in. There is no udev and no
// modprobe, so nothing loads by itself.
type modules struct {
	t       tree
	dir     string                        // below t: lib/modules/RELEASE
	byBus   map[string][][2]string        // bus to pattern and module
	needs   map[string][]string           // module to its file and those of its dependencies, in modules.dep order
	tried   map[string]bool               // by file; a module that failed once is not tried again
	insert  func(path string) error       // into the kernel
	problem func(module string, er error) // told about modules that do not load
}

func openModules(root, release string) (*modules, error) {
	m := &modules{t: tree(root), dir: "lib/modules/" + release, byBus: map[string][][2]string{}, needs: map[string][]string{},
		tried: map[string]bool{}, insert: insertModule, problem: func(string, error) {}}
	if !m.t.exists(m.dir, "modules.dep") {
		return nil, fmt.Errorf("cannot load modules: no %s/modules.dep; the initramfs is for another kernel", m.dir)
	}
	for line := range strings.Lines(string(m.t.bytes(32<<20, m.dir, "modules.dep"))) {
		file, deps, ok := strings.Cut(line, ":")
		if ok {
			m.needs[moduleName(file)] = append([]string{file}, strings.Fields(deps)...)
		}
	}
	for line := range strings.Lines(string(m.t.bytes(32<<20, m.dir, "modules.alias"))) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
			bus, _, _ := strings.Cut(f[1], ":")
			m.byBus[bus] = append(m.byBus[bus], [2]string{f[1], f[2]})
		}
	}
	return m, nil
}

// moduleName turns a file of modules.dep into the module's name.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// loadForDevices inserts what the devices present ask for, and returns how many modules that were.
func (m *modules) loadForDevices() int {
	before := len(m.tried)
	for range moduleRounds {
		tried := len(m.tried)
		for alias := range m.deviceAliases() {
			bus, _, _ := strings.Cut(alias, ":")
			for _, a := range m.byBus[bus] {
				if ok, _ := path.Match(a[0], alias); ok {
					m.load(a[1])
				}
			}
		}
		if len(m.tried) == tried {
			break
		}
	}
	return len(m.tried) - before
}

// deviceAliases collects what sysfs says the devices are.
func (m *modules) deviceAliases() map[string]bool {
	found := map[string]bool{}
	_ = filepath.WalkDir(m.t.path("sys/devices"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "modalias" {
			if text, err := os.ReadFile(p); err == nil && len(text) > 0 {
				found[strings.TrimSpace(string(text))] = true
			}
		}
		return nil
	})
	return found
}

// load inserts a module after what it depends on. Unknown names are built in, or not shipped.
func (m *modules) load(name string) {
	files := m.needs[strings.ReplaceAll(name, "-", "_")]
	for _, file := range slices.Backward(files) {
		if m.tried[file] {
			continue
		}
		m.tried[file] = true
		// ENODEV: the driver found nothing to drive. EEXIST: it is in, or built in.
		if err := m.insert(m.t.path(m.dir, file)); err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			m.problem(moduleName(file), err)
		}
	}
}

func insertModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = 4 // MODULE_INIT_COMPRESSED_FILE, linux/module.h
	}
	return unix.FinitModule(int(f.Fd()), "", flags)
}
