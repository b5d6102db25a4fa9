package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/metalward/metalward/internal/fault"
)

// Decode reads a JSON message strictly. Kinds: Invalid for unknown fields, wrong types and trailing bytes.
func Decode(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fault.New(fault.Invalid, "The message is not what version %d of the protocol has: %v.", Protocol, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // More would let a closing bracket pass
		return fault.New(fault.Invalid, "The message has bytes after its end.")
	}
	return nil
}
