package agent

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/wire"
)

// rereadTimeout is how long the kernel may refuse to look for partitions.
const rereadTimeout = 10 * time.Second

// deploy writes an image to the boot disk and gives it its seed. From the first byte written until the end, a
// failure leaves the disk without anything that could start; a loss of power does until the image is verified.
func (r *run) deploy(ctx context.Context, task wire.DeployTask) error {
	digest := strings.ToLower(task.ImageSHA256)
	if sum, err := hex.DecodeString(digest); err != nil || len(sum) != 32 || task.ImageSize <= 0 {
		return errors.New("cannot deploy: the task has no valid image digest and size")
	}
	target, err := findDisk(disks(tree(r.Root)), task.DiskSerial, task.DiskName)
	if err != nil {
		return err
	}
	disk, err := r.Host.OpenDisk(target.Name)
	if err != nil {
		return err
	}
	defer func() { _ = disk.Close() }()
	if task.Compression == "" && task.ImageSize > disk.size {
		return errTooSmall{disk.size, task.ImageSize - 1}
	}
	r.Console.Stage("disk", "%s %q serial %q, %d MiB", target.Name, target.Model, target.Serial, disk.size>>20)
	r.target = target.Name
	esp, err := r.install(ctx, task, digest, disk)
	if err == nil {
		err = r.configure(ctx, target.Name, esp)
	}
	if err != nil {
		r.spoil(target.Name)
		return err
	}
	return nil
}

// install writes and verifies the image and closes the disk. It returns the partition that UEFI starts from.
func (r *run) install(ctx context.Context, task wire.DeployTask, digest string, disk *Disk) (*Partition, error) {
	defer func() { _ = disk.Close() }()
	clearing := r.meter(ctx, "clearing disk", disk.size)
	if err := disk.Discard(clearing.at); err != nil {
		r.Console.Stage("disk", "cannot discard, old data stays where the image has none: %v", err)
	}
	if err := disk.ZeroEnds(); err != nil {
		return nil, err
	}
	if err := r.writeImage(ctx, task, digest, disk); err != nil {
		return nil, err
	}
	r.progress(ctx, "preparing partitions", -1)
	esp, err := r.partition(disk)
	if err != nil {
		return nil, err
	}
	if err := disk.Sync(); err != nil {
		return nil, err
	}
	// Somebody may have a partition of before open for an instant.
	if !wait(ctx, rereadTimeout, func() bool { err = disk.reread(); return err == nil }) {
		return nil, fmt.Errorf("cannot make the kernel read the partition table: %w", err)
	}
	return esp, nil
}

func (r *run) writeImage(ctx context.Context, task wire.DeployTask, digest string, disk *Disk) error {
	packed := r.client.download(ctx, digest, task.ImageSize)
	defer packed.Close()
	writing := r.meter(ctx, "writing image", task.ImageSize)
	image, closeImage, err := unpack(packed, task.Compression)
	var head []byte
	var written int64
	if err == nil {
		head, written, err = disk.WriteImage(image, func() { writing.at(packed.off) })
		closeImage()
	}
	// The order of blame: no bytes, wrong bytes, and only then an image that does not unpack or fit.
	if packed.failed != nil {
		return packed.failed
	}
	var small errTooSmall
	if errors.As(err, &small) {
		return err
	}
	if verr := packed.verify(); verr != nil {
		return verr
	}
	if err != nil {
		return fmt.Errorf("cannot write the image: %w", err)
	}
	r.progress(ctx, "flushing", -1)
	if err := disk.Sync(); err != nil {
		return err
	}
	if err := disk.WriteHead(head); err != nil {
		return err
	}
	r.Console.Stage("image", "%d bytes written, digest verified", written)
	return nil
}

// partition adapts the image's partition table to the disk.
func (r *run) partition(disk *Disk) (*Partition, error) {
	table, err := readGPT(disk.f, disk.size, disk.block)
	if errors.Is(err, errNoGPT) {
		r.Console.Stage("partitions", "the image has no GPT: its partition table stays as it is")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	last, err := table.fill(disk.f, disk.size)
	if err != nil {
		return nil, err
	}
	r.Console.Stage("partitions", "partition %d reaches to block %d", last.Number, last.Last)
	return table.esp(), nil
}

// configure gives the installed system its seed, and makes the machine start it. The seed is secret: it is
// fetched only now that a verified image is there to keep it.
func (r *run) configure(ctx context.Context, disk string, esp *Partition) error {
	r.progress(ctx, "configuring", -1)
	dir, unmount, err := r.Host.MountRoot(ctx, disk)
	if err != nil {
		return err
	}
	var seed wire.SeedResponse
	if err = r.client.call(ctx, http.MethodGet, wire.SeedPath, nil, &seed); err != nil {
		err = fmt.Errorf("cannot fetch the cloud-init seed: %w", err)
	} else {
		err = writeSeed(dir, seed)
	}
	if uerr := unmount(); err == nil && uerr != nil {
		err = fmt.Errorf("cannot unmount the root file system: %w", uerr)
	}
	if err != nil {
		return err
	}
	r.Console.Stage("seed", "written")
	r.setBootEntry(esp)
	if err := r.Host.SetRTC(r.client.now()); err != nil {
		r.Console.Stage("clock", "cannot set the hardware clock, going on: %v", err)
	}
	return nil
}

// setBootEntry makes UEFI firmware start the new system. Without it many still do, by the removable-media
// path, so a failure is only said.
func (r *run) setBootEntry(esp *Partition) {
	if esp == nil {
		return
	}
	switch set, err := r.Host.SetBootEntry(esp); {
	case err != nil:
		r.Console.Stage("efi", "cannot set the boot entry, going on: %v", err)
	case set:
		r.Console.Stage("efi", "boot entry %q is first", bootLabel)
	}
}

// spoil makes sure that nothing starts from a disk whose deployment failed.
func (r *run) spoil(name string) {
	disk, err := r.Host.OpenDisk(name)
	if err == nil {
		err = errors.Join(disk.ZeroEnds(), disk.Close())
	}
	if err != nil {
		r.Console.Stage("disk", "cannot make %s unbootable: %v", name, err)
		return
	}
	r.Console.Stage("disk", "%s was made unbootable", name)
}
