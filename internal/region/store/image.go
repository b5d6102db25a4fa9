package store

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

const imageCols = "id, name, title, architecture, file_type, size, sha256, received, complete, created, last_deployed"

func scanImage(scan func(...any) error) (b metal.BootResource, err error) {
	var created, deployed int64
	err = scan(&b.ID, &b.Name, &b.Title, &b.Architecture, &b.FileType, &b.SizeBytes, &b.SHA256, &b.Received, &b.Complete, &created, &deployed)
	b.Created, b.LastDeployed = fromMicros(created), fromMicros(deployed)
	return b, err
}

// ImageTarget is an image as the object of an action.
func ImageTarget(id int64) authz.Target { return authz.Target{Noun: authz.NounImage, ID: authz.ID(id)} }

// BootResources lists all images.
func (v *View) BootResources() ([]metal.BootResource, error) {
	return all(v, scanImage, "SELECT "+imageCols+" FROM boot_resources ORDER BY id")
}

// BootResource returns an image. Kinds: NotFound.
func (v *View) BootResource(id int64) (metal.BootResource, error) {
	return one(v, authz.NounImage, scanImage, "SELECT "+imageCols+" FROM boot_resources WHERE id = ?", id)
}

// BootResourceByName returns an image. Kinds: NotFound.
func (v *View) BootResourceByName(name, arch string) (metal.BootResource, error) {
	return one(v, authz.NounImage, scanImage, "SELECT "+imageCols+" FROM boot_resources WHERE name = ? AND architecture = ?", name, arch)
}

// BootResourceByDigest returns a complete image. Kinds: NotFound.
func (v *View) BootResourceByDigest(sha256 string) (metal.BootResource, error) {
	return one(v, authz.NounImage, scanImage, "SELECT "+imageCols+" FROM boot_resources WHERE sha256 = ? AND complete = 1 ORDER BY id LIMIT 1", sha256)
}

// AddBootResource inserts an image and sets its ID. Kinds: Conflict when the name is taken.
func (t *Tx) AddBootResource(b *metal.BootResource) (err error) {
	b.ID, err = t.insert("INSERT INTO boot_resources (name, title, architecture, file_type, size, sha256, received, complete, created, last_deployed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		b.Name, b.Title, b.Architecture, b.FileType, b.SizeBytes, b.SHA256, b.Received, bit(b.Complete), micros(b.Created), micros(b.LastDeployed))
	t.touch(ImageTarget(b.ID), true)
	return err
}

// PutBootResource updates an image.
func (t *Tx) PutBootResource(b metal.BootResource) error {
	t.touch(ImageTarget(b.ID), false)
	_, err := t.exec("UPDATE boot_resources SET title = ?, file_type = ?, size = ?, sha256 = ?, received = ?, complete = ?, created = ?, last_deployed = ? WHERE id = ?",
		b.Title, b.FileType, b.SizeBytes, b.SHA256, b.Received, bit(b.Complete), micros(b.Created), micros(b.LastDeployed), b.ID)
	return err
}

// DeleteBootResource deletes an image's record.
func (t *Tx) DeleteBootResource(id int64) error {
	t.touch(ImageTarget(id), false)
	_, err := t.exec("DELETE FROM boot_resources WHERE id = ?", id)
	return err
}
