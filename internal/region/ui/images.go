package ui

import (
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/images"
)

// chunkBytes is the piece in which an image is handed to the service.
const chunkBytes = 4 << 20

// chunkTime is how long one piece may take: a long upload is fine, a stalled one is not.
const chunkTime = 2 * time.Minute

type imagesData struct {
	Images []metal.BootResource
	Types  [][2]string
}

var imageTypes = [][2]string{{"ddraw", "Raw disk image"}, {"ddgz", "Raw disk image, gzip"}, {"ddxz", "Raw disk image, xz"}, {"ddzst", "Raw disk image, zstd"}}

func (q *request) imagesData() (imagesData, error) {
	list, err := q.ui.Images.List(q.http.Context())
	return imagesData{list, imageTypes}, err
}

func (q *request) images() error {
	d, err := q.imagesData()
	if err != nil {
		return err
	}
	return q.show("images", "Images", d)
}

func (q *request) imagesAgain(cause error) error {
	d, err := q.imagesData()
	if err != nil {
		return err
	}
	return q.again(cause, "images", "Images", d)
}

// resource is what a form says of an image.
func resource(get func(string) string) metal.BootResource {
	size, _ := strconv.ParseInt(get("size"), 10, 64)
	arch := get("architecture")
	if arch == "" {
		arch = "amd64/generic"
	}
	return metal.BootResource{Name: get("name"), Title: metal.Printable(get("title"), 255), Architecture: arch, FileType: get("filetype"), SHA256: get("sha256"), SizeBytes: size}
}

// progress is what scripts are told of an upload.
type progress struct {
	ID       int64 `json:"id"`
	Received int64 `json:"received"`
	Complete bool  `json:"complete"`
}

// announceImage begins an upload that a script then sends in pieces.
func (q *request) announceImage() error {
	b, err := q.ui.Images.Announce(q.http.Context(), resource(q.get))
	if err != nil {
		if q.wantsJSON() {
			return err
		}
		return q.imagesAgain(err)
	}
	if q.wantsJSON() {
		return q.json(http.StatusCreated, progress{b.ID, b.Received, b.Complete})
	}
	return q.redirect("/images", "added")
}

// appendImage takes the next piece of an upload.
func (q *request) appendImage() error {
	id, _ := strconv.ParseInt(q.http.PathValue("id"), 10, 64)
	if q.http.ContentLength > images.MaxChunk {
		return fault.New(fault.TooLarge, "Send pieces of at most %d bytes.", images.MaxChunk)
	}
	_ = http.NewResponseController(q.w).SetReadDeadline(time.Now().Add(chunkTime))
	b, err := q.ui.Images.Append(q.http.Context(), id, q.http.Body, q.http.ContentLength)
	if err != nil {
		return err
	}
	return q.json(http.StatusOK, progress{b.ID, b.Received, b.Complete})
}

// uploadImage takes a whole image as a browser without JavaScript sends it: the fields, then the file. It goes
// straight on to the service, piece by piece; nothing waits in memory or in a temporary file.
func (q *request) uploadImage() error {
	parts, err := q.http.MultipartReader()
	if err != nil {
		return fault.New(fault.Invalid, "The form cannot be read.")
	}
	fields := map[string]string{}
	for {
		q.more()
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return q.imagesAgain(fault.Field("file", "Choose a file."))
		}
		if err != nil || len(fields) > 16 {
			return fault.New(fault.Invalid, "The form cannot be read.")
		}
		if p.FormName() == "file" {
			q.form = map[string][]string{}
			for k, v := range fields {
				q.form.Set(k, v)
			}
			if err := q.receive(p); err != nil {
				return q.imagesAgain(err)
			}
			return q.redirect("/images", "uploaded")
		}
		text, err := io.ReadAll(io.LimitReader(p, 4096))
		if err != nil {
			return fault.New(fault.Invalid, "The form cannot be read.")
		}
		fields[p.FormName()] = strings.TrimSpace(string(text))
	}
}

func (q *request) more() {
	_ = http.NewResponseController(q.w).SetReadDeadline(time.Now().Add(chunkTime))
	_ = http.NewResponseController(q.w).SetWriteDeadline(time.Now().Add(2 * chunkTime))
}

func (q *request) receive(p *multipart.Part) error {
	b, err := q.ui.Images.Announce(q.http.Context(), resource(q.get))
	if err != nil {
		return err
	}
	for !b.Complete {
		q.more()
		n := min(chunkBytes, b.SizeBytes-b.Received)
		// The service reads one byte past the piece to see that there is no more of it.
		if b, err = q.ui.Images.Append(q.http.Context(), b.ID, io.LimitReader(p, n), n); err != nil {
			return err
		}
	}
	return nil
}

func (q *request) deleteImageForm() error {
	b, err := q.theImage()
	if err != nil {
		return err
	}
	return q.show("image_delete", "Delete "+b.Name, b)
}

func (q *request) theImage() (metal.BootResource, error) {
	id, _ := strconv.ParseInt(q.http.PathValue("id"), 10, 64)
	return q.ui.Images.Get(q.http.Context(), id)
}

func (q *request) deleteImage() error {
	b, err := q.theImage()
	if err != nil {
		return err
	}
	if err := q.ui.Images.Delete(q.http.Context(), b.ID); err != nil {
		return q.again(err, "image_delete", "Delete "+b.Name, b)
	}
	return q.redirect("/images", "deleted")
}

// wantsJSON reports whether a script asks: it shows errors itself.
func (q *request) wantsJSON() bool {
	return strings.HasPrefix(q.http.Header.Get("Accept"), "application/json")
}

func (q *request) json(status int, v any) error {
	q.w.Header().Set("Content-Type", "application/json")
	q.w.WriteHeader(status)
	return json.NewEncoder(q.w).Encode(v)
}

func (q *request) failJSON(err error) {
	body := struct {
		Error  string              `json:"error"`
		Fields map[string][]string `json:"fields,omitempty"`
	}{Error: fault.Message(err)}
	if f, ok := fault.As(err); ok {
		body.Error, body.Fields = f.Error(), f.Fields
	}
	_ = q.json(status(fault.KindOf(err)), body)
}
