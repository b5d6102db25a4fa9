package audit

import (
	"bufio"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// line is one line of an export: JSON with one of the fields.
type line struct {
	Format     string            `json:"format,omitempty"`
	Anchor     *store.Checkpoint `json:"anchor,omitempty"`
	Event      *metal.AuditEvent `json:"event,omitempty"`
	Checkpoint *store.Checkpoint `json:"checkpoint,omitempty"`
}

const (
	exportFormat = "metalward trail v1"
	maxLine      = 1 << 20 // bytes; an event's texts are bounded far below
)

// Export writes the sealed trail of all regions, one JSON object a line, with the checkpoints that prove it.
func Export(v *store.View, w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(out)
	if err := enc.Encode(line{Format: exportFormat}); err != nil {
		return err
	}
	regions, err := v.AuditRegions()
	if err != nil {
		return err
	}
	for _, region := range regions {
		if err := walk(v, region, lines{enc}); err != nil {
			return err
		}
	}
	return out.Flush()
}

// lines writes what it is told.
type lines struct{ enc *json.Encoder }

func (l lines) anchor(a store.Checkpoint) error     { return l.enc.Encode(line{Anchor: &a}) }
func (l lines) event(e metal.AuditEvent) error      { return l.enc.Encode(line{Event: &e}) }
func (l lines) checkpoint(c store.Checkpoint) error { return l.enc.Encode(line{Checkpoint: &c}) }

// VerifyExport checks an export without the instance that wrote it. The key has to come by another way than the
// export. It returns the number of events that fit; a chain that does not is a *Broken. What an export cannot show
// is that newer events were left off its end: compare its last checkpoint with a later export's.
func VerifyExport(r io.Reader, public ed25519.PublicKey) (n int64, err error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLine)
	checkers := map[string]*checker{}
	var k *checker
	of := func(region string) (*checker, error) {
		if k != nil && k.region == region {
			return k, nil
		}
		if checkers[region] != nil {
			return nil, &Broken{region, checkers[region].seq + 1, "its events do not stand together"}
		}
		k = &checker{region: region, public: public}
		checkers[region] = k
		return k, nil
	}
	for number := 1; in.Scan(); number++ {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return n, fmt.Errorf("line %d is not part of an export: %w", number, err)
		}
		var err error
		switch {
		case number == 1:
			if l.Format != exportFormat {
				return n, fmt.Errorf("this is not an export of the trail: its first line does not say %q", exportFormat)
			}
		case l.Anchor != nil:
			if k, err = of(l.Anchor.Region); err == nil {
				err = k.anchor(*l.Anchor)
			}
		case l.Event != nil:
			if k, err = of(l.Event.Region); err == nil {
				err = k.event(*l.Event)
			}
			if err == nil {
				n++
			}
		case l.Checkpoint != nil:
			if k, err = of(l.Checkpoint.Region); err == nil {
				err = k.checkpoint(*l.Checkpoint)
			}
		default:
			err = fmt.Errorf("line %d holds nothing", number)
		}
		if err != nil {
			return n, err
		}
	}
	if err := in.Err(); err != nil {
		return n, fmt.Errorf("cannot read the export: %w", err)
	}
	if len(checkers) == 0 {
		return 0, errors.New("the export holds no events")
	}
	for _, k := range checkers {
		if err := k.end(); err != nil {
			return n, err
		}
	}
	return n, nil
}
