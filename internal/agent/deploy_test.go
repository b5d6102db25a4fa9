package agent

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

// testImage is a disk image with a partition table, data that does not compress, and long runs of zeros.
func testImage(t *testing.T, size int64) []byte {
	t.Helper()
	image := gptImage(t, size, 512, usual(size)...)
	rng := rand.NewChaCha8([32]byte{1})
	for off := int64(4 * mib); off+6*mib < size; off += 11 * mib {
		_, _ = rng.Read(image[off : off+512<<10])
	}
	return image
}

func pack(t *testing.T, image []byte, compression string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch compression {
	case "":
		return image
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest))
	case "xz":
		w, err = xz.NewWriter(&b)
	}
	if err == nil {
		_, err = w.Write(image)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func deployRack(t *testing.T, image []byte, compression string) *fakeRack {
	packed := pack(t, image, compression)
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeDeploy, Then: wire.ThenReboot, Deploy: &wire.DeployTask{
		ImageSHA256: digestOf(packed), ImageSize: int64(len(packed)), Compression: compression, DiskSerial: "SN-sda", DiskName: "sda"}})
	rack.image = packed
	rack.seed = wire.SeedResponse{MetaData: []byte("instance-id: i1\n"), UserData: []byte("#cloud-config\n"), VendorData: []byte("{}\n"),
		NetworkConfig: []byte("version: 2\n"), MetadataCA: []byte("-----BEGIN CERTIFICATE-----\n")}
	return rack
}

func TestDeploy(t *testing.T) {
	image := testImage(t, 16*mib)
	for _, compression := range []string{"", "gzip", "xz", "zstd"} {
		t.Run("compression "+compression, func(t *testing.T) {
			rack := deployRack(t, image, compression)
			const size = 32 * mib
			root, host := machineTree(t, map[string]int64{"sda": size, "sdb": 2 * mib})
			then, err := runAgent(t, rack, root, host)
			if err != nil || then != wire.ThenReboot {
				t.Fatalf("got %q, %v, want reboot", then, err)
			}
			disk, err := os.ReadFile(filepath.Join(host.dir, "sda"))
			if err != nil {
				t.Fatal(err)
			}
			// All but the tables is the image's, and what the image has zero is zero, whatever was there before.
			if !bytes.Equal(disk[mib:16*mib-mib], image[mib:16*mib-mib]) {
				t.Error("the disk does not hold the image")
			}
			table, err := readGPT(bytes.NewReader(disk), size, 512)
			if err != nil {
				t.Fatal(err)
			}
			if parts := table.partitions(); parts[2].Last < (size-2*mib)/512 {
				t.Errorf("got root partition to block %d", parts[2].Last)
			}
			if host.esp == nil || host.esp.Number != 2 || host.rtc.IsZero() || host.mounted != 0 {
				t.Errorf("got ESP %+v, hardware clock %v, %d mounts", host.esp, host.rtc, host.mounted)
			}
			got, err := os.ReadFile(filepath.Join(host.root, seedDir, "user-data"))
			if err != nil || string(got) != "#cloud-config\n" {
				t.Errorf("got user-data %q, %v", got, err)
			}
			if len(rack.done) != 1 || !rack.done[0].OK {
				t.Errorf("got done %+v", rack.done)
			}
			if other, _ := os.ReadFile(filepath.Join(host.dir, "sdb")); !bytes.HasPrefix(other, []byte("old data")) {
				t.Error("another disk was touched")
			}
		})
	}
}

// A connection that breaks several times is taken up where it was.
func TestDeployResumes(t *testing.T) {
	image := testImage(t, 24*mib)
	rack := deployRack(t, image, "")
	root, host := machineTree(t, map[string]int64{"sda": 32 * mib})
	breaks := 4
	rack.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasPrefix(req.URL.Path, wire.ImagePath) || breaks == 0 {
			return false
		}
		breaks--
		var from int
		_, _ = fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-", &from)
		rack.ranges = append(rack.ranges, req.Header.Get("Range"))
		if disk, err := os.ReadFile(filepath.Join(host.dir, "sda")); from > 8*mib && (err != nil || !allZero(disk[:mib]) || !bytes.Equal(disk[mib:8*mib], image[mib:8*mib])) {
			t.Errorf("at byte %d of the image: want the disk to hold it but for its first MiB (%v)", from, err)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(image)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(image)-1, len(image)))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(image[from : from+3*mib+17])
		panic(http.ErrAbortHandler)
	}
	if _, err := runAgent(t, rack, root, host); err != nil {
		t.Fatal(err)
	}
	if len(rack.ranges) != 5 || rack.ranges[0] != "" || slices.Contains(rack.ranges[1:], "") {
		t.Errorf("got ranges %q, want a start and four resumptions", rack.ranges)
	}
	disk, _ := os.ReadFile(filepath.Join(host.dir, "sda"))
	if !bytes.Equal(disk[mib:23*mib], image[mib:23*mib]) || allZero(disk[:mib]) {
		t.Error("the disk does not hold the image")
	}
}

// The rack may need longer to fetch an image than the agent waits for a rack that is away.
func TestDeployWaitsForTheRack(t *testing.T) {
	image := testImage(t, 16*mib)
	rack := deployRack(t, image, "")
	asked := 0
	rack.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasPrefix(req.URL.Path, wire.ImagePath) {
			return false
		}
		if asked++; asked > 20 {
			return false
		}
		w.Header().Set("Retry-After", "1")
		http.Error(w, "on its way", http.StatusServiceUnavailable)
		return true
	}
	root, host := machineTree(t, map[string]int64{"sda": 32 * mib})
	rack.StartTLS()
	c := Config{Args: rack.args(), Root: root, Host: host, Console: NewConsole(&testLog{t: t})}
	r := &run{Config: c, client: newClient(c.Args, c.Console)}
	r.client.backoff, r.client.retryFor = 5*time.Millisecond, 20*time.Millisecond // twenty times the one is more than the other
	if _, err := r.run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDeployFailures(t *testing.T) {
	image := testImage(t, 20*mib)
	forbid := func(path string) func(r *fakeRack) {
		return func(r *fakeRack) {
			r.intercept = func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasPrefix(req.URL.Path, path) {
					return false
				}
				http.Error(w, "this boot is contested", http.StatusForbidden)
				return true
			}
		}
	}
	for name, tc := range map[string]struct {
		disk    int64
		packing string
		change  func(r *fakeRack)
		want    string
		// what became of the disk: "old" untouched, "spoiled" unbootable
		state string
		seeds int
	}{
		"wrong digest":          {24 * mib, "zstd", func(r *fakeRack) { r.task.Deploy.ImageSHA256 = strings.Repeat("0", 64) }, "image digest", "spoiled", 0},
		"altered image":         {24 * mib, "", func(r *fakeRack) { r.image[5*mib] ^= 1 }, "image digest", "spoiled", 0},
		"altered packed image":  {24 * mib, "gzip", func(r *fakeRack) { r.image[len(r.image)/2] ^= 1 }, "image digest", "spoiled", 0},
		"not what it says":      {24 * mib, "gzip", func(r *fakeRack) { r.task.Deploy.Compression = "zstd" }, "cannot write the image", "spoiled", 0},
		"unknown packing":       {24 * mib, "gzip", func(r *fakeRack) { r.task.Deploy.Compression = "rar" }, "rar", "spoiled", 0},
		"longer than announced": {24 * mib, "", func(r *fakeRack) { r.image = append(r.image, 0) }, "cannot fetch the image", "spoiled", 0},
		"disk too small":        {16 * mib, "zstd", nil, "disk too small: it has 16777216 bytes", "spoiled", 0},
		"disk too small, plain": {16 * mib, "", nil, "disk too small: it has 16777216 bytes", "old", 0},
		"no such disk":          {24 * mib, "", func(r *fakeRack) { r.task.Deploy.DiskSerial = "other" }, "no disk with serial", "old", 0},
		"contested at image":    {24 * mib, "", forbid(wire.ImagePath), "contested", "spoiled", 0},
		"contested at seed":     {24 * mib, "", forbid(wire.SeedPath), "cannot fetch the cloud-init seed: the rack refused with 403", "spoiled", 0},
		"contested at the end":  {24 * mib, "", forbid(wire.DonePath), "cannot report the end of the task: the rack refused with 403", "spoiled", 1},
		"no digest":             {24 * mib, "", func(r *fakeRack) { r.task.Deploy.ImageSHA256 = "" }, "no valid image digest", "old", 0},
	} {
		t.Run(name, func(t *testing.T) {
			rack := deployRack(t, slices.Clone(image), tc.packing)
			if tc.change != nil {
				tc.change(rack)
			}
			root, host := machineTree(t, map[string]int64{"sda": tc.disk})
			_, err := runAgent(t, rack, root, host)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if name == "contested at the end" {
				rack.done = []wire.DoneRequest{{Error: tc.want}} // nobody heard
			}
			if len(rack.done) != 1 || rack.done[0].OK || !strings.Contains(rack.done[0].Error, tc.want) {
				t.Errorf("got done %+v", rack.done)
			}
			disk, _ := os.ReadFile(filepath.Join(host.dir, "sda"))
			last := int64(len(disk)) - mib
			switch spoiled := allZero(disk[:mib]) && allZero(disk[last:]); tc.state {
			case "old":
				if !bytes.HasPrefix(disk, []byte("old data")) {
					t.Error("the disk was touched")
				}
			case "spoiled":
				if !spoiled {
					t.Error("the disk can still start something")
				}
			}
			if rack.seeds != tc.seeds || host.esp != nil {
				t.Errorf("got %d seeds fetched, boot entry %v", rack.seeds, host.esp)
			}
		})
	}
}

func TestFindDisk(t *testing.T) {
	disks := []metal.InventoryDisk{{Name: "sda", Serial: "A"}, {Name: "sdb", Serial: "B"}, {Name: "sdc"}, {Name: "sdd", Serial: "B"}}
	for _, tc := range []struct{ serial, name, want string }{
		{"A", "sda", "sda"},
		{"A", "sdz", "sda"}, // names move, serials do not
		{"", "sdc", "sdc"},
		{"B", "sdd", "sdd"},
		{"B", "sda", ""},
		{"C", "sda", ""}, // never another disk
		{"", "", ""},
	} {
		got, err := findDisk(disks, tc.serial, tc.name)
		if got.Name != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%q %q: got %q, %v, want %q", tc.serial, tc.name, got.Name, err, tc.want)
		}
	}
}

func TestWriteSeed(t *testing.T) {
	seed := wire.SeedResponse{MetaData: []byte("m"), UserData: []byte("u"), MetadataCA: []byte("ca")}
	t.Run("modes", func(t *testing.T) {
		dir := t.TempDir()
		writeTree(t, dir, map[string]string{"etc/os-release": "", seedDir + "/meta-data": "of the image"})
		if err := writeSeed(dir, seed); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]struct {
			mode fs.FileMode
			text string
		}{
			seedDir + "/meta-data":   {0o600, "m"},
			seedDir + "/user-data":   {0o600, "u"},
			seedDir + "/vendor-data": {0o600, ""},
			cloudConfig:              {0o600, "# Written by Metalward at deployment.\ndatasource_list: [ NoCloud ]\n"},
			metadataCA:               {0o644, "ca"},
			"etc/systemd/system/cloud-final.service.d/50-metalward-ca.conf": {0o644,
				"# Written by Metalward: cloud-init reports to the rack, whose CA nothing else trusts.\n[Service]\nEnvironment=REQUESTS_CA_BUNDLE=/etc/metalward/metadata-ca.pem\n"},
		} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
				continue
			}
			text, _ := os.ReadFile(filepath.Join(dir, name))
			if info.Mode().Perm() != want.mode || string(text) != want.text {
				t.Errorf("%s: got %v %q, want %v %q", name, info.Mode().Perm(), text, want.mode, want.text)
			}
		}
		if info, _ := os.Stat(filepath.Join(dir, seedDir)); info.Mode().Perm() != 0o700 {
			t.Errorf("got seed directory mode %v", info.Mode())
		}
		if _, err := os.Stat(filepath.Join(dir, seedDir, "network-config")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got a network-config without one in the seed: %v", err)
		}
	})
	// An image that tries to have the seed written elsewhere.
	outside := t.TempDir()
	for name, link := range map[string][2]string{
		"directory outside": {"var/lib/cloud", outside},
		"directory inside":  {"var/lib/cloud", "../../etc"},
		"etc":               {"etc", outside},
		"dangling":          {"etc/cloud", "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, link[0])), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(link[1], filepath.Join(dir, link[0])); err != nil {
				t.Fatal(err)
			}
			if err := writeSeed(dir, seed); err == nil || !strings.Contains(err.Error(), "not a directory") {
				t.Errorf("got %v, want a refusal", err)
			}
		})
	}
	t.Run("link in place of a file", func(t *testing.T) {
		dir := t.TempDir()
		victim := filepath.Join(outside, "victim")
		writeTree(t, outside, map[string]string{"victim": "precious"})
		if err := os.MkdirAll(filepath.Join(dir, seedDir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(victim, filepath.Join(dir, seedDir, "user-data")); err != nil {
			t.Fatal(err)
		}
		if err := writeSeed(dir, seed); err != nil {
			t.Fatal(err)
		}
		if text, _ := os.ReadFile(victim); string(text) != "precious" {
			t.Errorf("got %q: the link was followed", text)
		}
	})
	if left, _ := os.ReadDir(outside); len(left) != 1 {
		t.Errorf("got %v outside of the image", left)
	}
}
