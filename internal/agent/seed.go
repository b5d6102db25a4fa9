package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/metalward/metalward/internal/wire"
)

// Where things go on the deployed system. The CA is for cloud-init only: the system's own trust stays as the
// image has it.
const (
	seedDir      = "var/lib/cloud/seed/nocloud"
	cloudConfig  = "etc/cloud/cloud.cfg.d/95-metalward.cfg"
	metadataCA   = "etc/metalward/metadata-ca.pem"
	dropInFormat = "etc/systemd/system/%s.service.d/50-metalward-ca.conf"
)

// cloudUnits are cloud-init's four stages.
var cloudUnits = []string{"cloud-init-local", "cloud-init", "cloud-config", "cloud-final"}

// writeSeed puts the cloud-init seed on the mounted root file system of an image.
func writeSeed(dir string, seed wire.SeedResponse) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot open the root file system: %w", err)
	}
	defer func() { _ = root.Close() }()
	type file struct {
		name string
		mode fs.FileMode
		data []byte
	}
	files := []file{
		{seedDir + "/meta-data", 0o600, seed.MetaData},
		{seedDir + "/user-data", 0o600, seed.UserData},
		{seedDir + "/vendor-data", 0o600, seed.VendorData},
		{seedDir + "/network-config", 0o600, seed.NetworkConfig},
		// A list of one keeps cloud-init from looking for other sources, which could be an attacker's.
		{cloudConfig, 0o600, []byte("# Written by Metalward at deployment.\ndatasource_list: [ NoCloud ]\n")},
	}
	if len(seed.MetadataCA) > 0 {
		files = append(files, file{metadataCA, 0o644, seed.MetadataCA})
		for _, unit := range cloudUnits {
			files = append(files, file{fmt.Sprintf(dropInFormat, unit), 0o644,
				[]byte("# Written by Metalward: cloud-init reports to the rack, whose CA nothing else trusts.\n[Service]\nEnvironment=REQUESTS_CA_BUNDLE=/" + metadataCA + "\n")})
		}
	}
	if err := makeDirs(root, seedDir); err != nil {
		return err
	}
	if err := root.Chmod(seedDir, 0o700); err != nil {
		return fmt.Errorf("cannot protect the seed: %w", err)
	}
	for _, f := range files {
		if f.data == nil && strings.HasSuffix(f.name, "/network-config") {
			continue // an empty one would turn the network off
		}
		if err := putFile(root, f.name, f.mode, f.data); err != nil {
			return err
		}
	}
	return nil
}

// putFile replaces a file. Nothing in the image decides where it ends up: no directory on the way, and not the
// file itself, is reached through a symbolic link.
func putFile(root *os.Root, name string, mode fs.FileMode, data []byte) error {
	if err := makeDirs(root, path.Dir(name)); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot replace /%s: %w", name, err)
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("cannot create /%s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write /%s: %w", name, err)
	}
	return nil
}

// makeDirs makes the directories of a path, and refuses one that is a symbolic link.
func makeDirs(root *os.Root, dir string) error {
	parts := strings.Split(dir, "/")
	for i := range parts {
		p := path.Join(parts[:i+1]...)
		info, err := root.Lstat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := root.Mkdir(p, 0o755); err != nil {
				return fmt.Errorf("cannot make directory /%s: %w", p, err)
			}
		case err != nil:
			return fmt.Errorf("cannot look at /%s: %w", p, err)
		case !info.IsDir():
			return fmt.Errorf("cannot write below /%s: the image has something there that is not a directory", p)
		}
	}
	return nil
}
