package store

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

const imageCols = "id, name, title, architecture, file_type, size, sha256, received, complete, created, last_deployed, serving_type, serving_size, serving_sha256"

func scanImage(scan func(...any) error) (b metal.BootResource, err error) {
	var created, deployed int64
	err = scan(&b.ID, &b.Name, &b.Title, &b.Architecture, &b.FileType, &b.SizeBytes, &b.SHA256, &b.Received, &b.Complete, &created, &deployed,
		&b.Serving.FileType, &b.Serving.SizeBytes, &b.Serving.SHA256)
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

// ImageNeeded reports whether bytes of a digest are those of a version that deployments get, or of a deployment
// under way, which keeps the version that it began with.
func (v *View) ImageNeeded(sha256 string) (bool, error) {
	if sha256 == "" {
		return false, nil
	}
	var images, boots int
	err := v.row(`SELECT (SELECT COUNT(*) FROM boot_resources WHERE (sha256 = ? AND complete = 1) OR serving_sha256 = ?),
		(SELECT COUNT(*) FROM boots WHERE ended = 0 AND task LIKE ? ESCAPE '\')`, sha256, sha256, `%"`+like(sha256)+`"%`).Scan(&images, &boots)
	return images+boots > 0, err
}

// AddBootResource inserts an image and sets its ID. Kinds: Conflict when the name is taken.
func (t *Tx) AddBootResource(b *metal.BootResource) (err error) {
	b.ID, err = t.insert(`INSERT INTO boot_resources (name, title, architecture, file_type, size, sha256, received, complete, created, last_deployed,
		serving_type, serving_size, serving_sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		b.Name, b.Title, b.Architecture, b.FileType, b.SizeBytes, b.SHA256, b.Received, bit(b.Complete), micros(b.Created), micros(b.LastDeployed),
		b.Serving.FileType, b.Serving.SizeBytes, b.Serving.SHA256)
	t.touch(ImageTarget(b.ID), true)
	return err
}

// PutBootResource updates an image.
func (t *Tx) PutBootResource(b metal.BootResource) error {
	t.touch(ImageTarget(b.ID), false)
	_, err := t.exec(`UPDATE boot_resources SET title = ?, file_type = ?, size = ?, sha256 = ?, received = ?, complete = ?, created = ?, last_deployed = ?,
		serving_type = ?, serving_size = ?, serving_sha256 = ? WHERE id = ?`,
		b.Title, b.FileType, b.SizeBytes, b.SHA256, b.Received, bit(b.Complete), micros(b.Created), micros(b.LastDeployed),
		b.Serving.FileType, b.Serving.SizeBytes, b.Serving.SHA256, b.ID)
	return err
}

// DeleteBootResource deletes an image's record.
func (t *Tx) DeleteBootResource(id int64) error {
	t.touch(ImageTarget(id), false)
	_, err := t.exec("DELETE FROM boot_resources WHERE id = ?", id)
	return err
}
