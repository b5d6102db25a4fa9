package metal

import (
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// BootResource is an uploaded image that machines can be deployed with.
type BootResource struct {
	ID           int64
	Name         string // "custom/name" or "os/release"
	Title        string
	Architecture string
	FileType     string // "ddraw", "ddgz", "ddxz" or "ddzst": how the whole-disk image is packed
	SizeBytes    int64  // as announced, of the packed file
	SHA256       string // as announced, hex, of the packed file
	Received     int64  // bytes that arrived so far
	Complete     bool   // size and digest were checked
	Created      time.Time
	LastDeployed time.Time
	// Serving is the version that deployments get while a newer one is uploaded; zero when there is none.
	Serving ImageVersion
}

// ImageVersion is what distinguishes one version of an image from another.
type ImageVersion struct {
	FileType  string
	SizeBytes int64
	SHA256    string
}

// Deployable returns the version that deployments get, the newest complete one; false when there is none.
func (b *BootResource) Deployable() (ImageVersion, bool) {
	if b.Complete {
		return ImageVersion{b.FileType, b.SizeBytes, b.SHA256}, true
	}
	return b.Serving, b.Serving.SHA256 != ""
}

// MaxImageBytes is the largest image accepted, packed.
const MaxImageBytes int64 = 64 << 30

// fileTypes maps the type an uploader names to what the API shows in return. Only whole-disk images can be
// deployed so far. Source: MAAS API 2.0, boot resource filetypes; ddzst is Metalward's own.
var fileTypes = map[string]string{"ddraw": "root-dd.raw", "ddgz": "root-dd", "ddtgz": "", "ddxz": "root-dd.xz", "ddzst": "root-dd.zst"}

// StoredFileType is the name under which the API reports the file of this resource.
func (b *BootResource) StoredFileType() string {
	return ImageVersion{FileType: b.FileType}.StoredFileType()
}

// StoredFileType is the name under which the API reports the file of this version.
func (v ImageVersion) StoredFileType() string { return fileTypes[v.FileType] }

// Compression is what the agent has to undo: "", "gzip", "xz" or "zstd".
func (v ImageVersion) Compression() string {
	return map[string]string{"ddgz": "gzip", "ddxz": "xz", "ddzst": "zstd"}[v.FileType]
}

// OSystem and Series are the two halves of the name: "custom" and "debian12" of "custom/debian12".
func (b *BootResource) OSystem() string { os, _, _ := strings.Cut(b.Name, "/"); return os }

// Series is the second half of the name.
func (b *BootResource) Series() string { _, s, _ := strings.Cut(b.Name, "/"); return s }

var resourceNameRE = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,99}(/[a-zA-Z0-9][a-zA-Z0-9._-]{0,99})?$`)

// Validate checks and normalizes an announced upload. Kinds: Invalid.
func (b *BootResource) Validate() error {
	bad := fault.Fields{}
	if !resourceNameRE.MatchString(b.Name) {
		bad.Add("name", "Use a name such as custom/debian12: lower-case letters, digits, '.', '_' and '-'.")
	} else if !strings.Contains(b.Name, "/") {
		b.Name = "custom/" + b.Name
	}
	arch, err := ParseArchitecture(b.Architecture, "")
	if err != nil {
		bad.Add("architecture", "'%s' is not a valid architecture. It should be one of: 'amd64/generic'.", clip(b.Architecture))
	}
	b.Architecture = arch
	if fileTypes[b.FileType] == "" {
		bad.Add("filetype", "'%s' is not one of ddraw, ddgz, ddxz, ddzst: Metalward deploys whole-disk images.", clip(b.FileType))
	}
	if sum, err := hex.DecodeString(b.SHA256); err != nil || len(sum) != 32 {
		bad.Add("sha256", "Enter the SHA-256 of the file: 64 hexadecimal digits.")
	}
	b.SHA256 = strings.ToLower(b.SHA256)
	if b.SizeBytes <= 0 || b.SizeBytes > MaxImageBytes {
		bad.Add("size", "Enter the size of the file in bytes, between 1 and %d.", MaxImageBytes)
	}
	return bad.Err()
}
