package wire

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// kinds maps a fault's kind to the status that carries it between controllers and agents.
var kinds = map[fault.Kind]int{
	fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden,
	fault.NotFound: http.StatusNotFound, fault.Conflict: http.StatusConflict, fault.Exhausted: http.StatusTooManyRequests,
	fault.Unavailable: http.StatusServiceUnavailable, fault.TooLarge: http.StatusRequestEntityTooLarge, fault.Internal: http.StatusInternalServerError,
}

type faultBody struct {
	Error  string              `json:"error"`
	Fields map[string][]string `json:"fields,omitempty"`
}

// EncodeFault answers with an error's kind and user-safe message.
func EncodeFault(w http.ResponseWriter, err error) {
	body := faultBody{Error: fault.Message(err)}
	if f, ok := fault.As(err); ok {
		body = faultBody{Error: f.Message, Fields: f.Fields}
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
		}
	}
	data, _ := json.Marshal(body) // strings only
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(kinds[fault.KindOf(err)])
	_, _ = w.Write(data)
}

// DecodeFault turns an answer back into the fault it came from.
func DecodeFault(status int, data []byte) error {
	f := &fault.Error{Kind: fault.Internal}
	for k, s := range kinds {
		if s == status {
			f.Kind = k
		}
	}
	var body faultBody
	if json.Unmarshal(data, &body) == nil {
		f.Message, f.Fields = body.Error, body.Fields
	}
	if f.Message == "" && len(f.Fields) == 0 {
		f.Message = http.StatusText(status)
	}
	return f
}
