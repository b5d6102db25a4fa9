package metal

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// Notification is something that people are told. Source: MAAS API 2.0, notifications.
type Notification struct {
	ID          int64
	Ident       string // unique when not empty: what says the same again replaces it
	UserID      int64  // 0: not for a single user
	User        string // his name
	Users       bool   // for all who are not administrators
	Admins      bool   // for all administrators
	Message     string // with {name} for values of Context
	Context     map[string]string
	Category    string // "error", "warning", "success" or "info"
	Dismissable bool
	Created     time.Time
	Updated     time.Time
}

// Limits of notifications.
const (
	MaxNotifications = 1000 // of a site
	maxMessage       = 2048 // bytes
	maxContext       = 4096 // bytes of JSON
)

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// Text is the message with the context's values filled in.
func (n Notification) Text() string {
	return placeholder.ReplaceAllStringFunc(n.Message, func(s string) string {
		if v, ok := n.Context[s[1:len(s)-1]]; ok {
			return v
		}
		return s
	})
}

// Validate checks a notification. Kinds: Invalid.
func (n Notification) Validate() error {
	bad := fault.Fields{}
	switch {
	case n.Message == "":
		bad.Add("message", "This field is required.")
	case len(n.Message) > maxMessage || Printable(n.Message, maxMessage) != n.Message:
		bad.Add("message", "Use at most %d printable characters.", maxMessage)
	}
	for _, m := range placeholder.FindAllStringSubmatch(n.Message, -1) {
		if _, ok := n.Context[m[1]]; !ok {
			bad.Add("message", "The context has no value for {%s}.", m[1])
		}
	}
	switch n.Category {
	case "error", "warning", "success", "info":
	default:
		bad.Add("category", "Use error, warning, success or info.")
	}
	if len(n.Ident) > 40 || Printable(n.Ident, 40) != n.Ident {
		bad.Add("ident", "Use at most 40 printable characters.")
	}
	return bad.Err()
}

// ParseContext reads the values for a message: a JSON object of plain values. Kinds: Invalid on "context".
func ParseContext(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	var doc map[string]any
	if len(text) > maxContext || json.Unmarshal([]byte(text), &doc) != nil {
		return nil, fault.Field("context", "Send a JSON object of at most %d bytes.", maxContext)
	}
	values := make(map[string]string, len(doc))
	for k, v := range doc {
		switch v.(type) {
		case string, float64, bool:
			values[k] = Printable(fmt.Sprint(v), maxContext)
		default:
			return nil, fault.Field("context", "The value of %.40q is no text, number or truth value.", k)
		}
	}
	return values, nil
}
