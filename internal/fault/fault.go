// Package fault is the one error type that crosses package borders.
//
// A fault has a kind, which decides the HTTP status or the wire code, and a message that is safe to show to
// the person who caused it. Whatever wraps a fault on its way up is for operators: it is logged, never shown.
// An error without a kind is Internal.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind says what a caller can do about an error.
type Kind int

// The kinds. Internal is the zero value, so that an unclassified error is never blamed on the caller.
const (
	Internal        Kind = iota // our defect: an operator must look
	Invalid                     // the request is wrong: fix the named fields
	Unauthenticated             // credentials are missing or wrong
	Forbidden                   // known caller, not allowed
	NotFound                    // absent, or must look absent
	Conflict                    // the object's state does not allow it now
	Exhausted                   // a limit or quota is reached
	Unavailable                 // a part we need does not answer: try again
	TooLarge                    // the body passes a named limit
)

var names = [...]string{"internal", "invalid", "unauthenticated", "forbidden", "not found", "conflict", "exhausted", "unavailable", "too large"}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(names) {
		return "internal"
	}
	return names[k]
}

// Error is a classified error. Build it with New, Field or Fields.
type Error struct {
	Kind    Kind
	Message string              // safe to show
	Fields  map[string][]string // Invalid only: field name to messages
	// RetryAfter, if positive, tells the caller when another try makes sense.
	RetryAfter time.Duration
}

// Error returns the user-safe text, with the fields in alphabetical order.
func (e *Error) Error() string {
	if len(e.Fields) == 0 {
		return e.Message
	}
	var b strings.Builder
	b.WriteString(e.Message)
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(name + ": " + strings.Join(e.Fields[name], " "))
	}
	return b.String()
}

// New makes a fault of a kind with a user-safe message.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Field makes an Invalid fault about one field of the request.
func Field(name, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Fields: map[string][]string{name: {fmt.Sprintf(format, args...)}}}
}

// Fields collects the complaints about a request, so that a person sees all of them at once.
type Fields map[string][]string

// Add records a complaint about a field.
func (f Fields) Add(name, format string, args ...any) {
	f[name] = append(f[name], fmt.Sprintf(format, args...))
}

// AddErr records what an error says under a field; a nil error is ignored.
func (f Fields) AddErr(name string, err error) {
	if err != nil {
		f[name] = append(f[name], Message(err))
	}
}

// Err returns an Invalid fault with everything recorded, or nil.
func (f Fields) Err() error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Kind: Invalid, Fields: f}
}

// As returns the fault inside err, if there is one.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// KindOf returns the kind of err; Internal for an unclassified error.
func KindOf(err error) Kind {
	if e, ok := As(err); ok {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is of the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// Message returns the text of err that may be shown to a user. An unclassified error shows nothing of itself.
func Message(err error) string {
	if e, ok := As(err); ok {
		return e.Error()
	}
	return "Internal error. The request id leads to the details in the controller's log."
}
