package host

import (
	"slices"

	"github.com/metalward/metalward/internal/guard"
)

// haproxyBackend is how a section treats its servers. Source: HAProxy's configuration manual, "Proxy keywords matrix" and the keywords.
func haproxyBackend(s *section) guard.Backend {
	b := guard.Backend{Name: s.name, File: s.file, Line: s.line, Balance: s.one("balance").arg(0), Hash: s.one("hash-type").arg(0),
		Retries: s.one("retries").arg(0), Close: s.closes(), Connect: s.timeout("connect"), Server: s.timeout("server")}
	for _, line := range s.all("cookie") {
		b.Sticky = line.arg(0) != "no" && line.arg(0) != ""
	}
	for _, line := range s.all("stick") {
		b.Sticky = b.Sticky || line.arg(0) == "on" || line.arg(0) == "match"
	}
	for _, line := range s.all("option") {
		switch {
		case line.arg(0) == "redispatch":
			b.Redispatch = line.arg(1) != "0" // an interval of 0 turns it off
		case line.arg(1) == "redispatch": // behind "no" or "default"
			b.Redispatch = false
		}
	}
	return b
}

// timeout is how long a section waits for something, as written.
func (s *section) timeout(what string) (value string) {
	for _, b := range s.all("timeout") {
		if b.arg(0) == what {
			value = b.arg(1)
		}
	}
	return value
}

// closes reports whether connections to servers are closed after each answer: of the options that exclude each other, the last one holds.
func (s *section) closes() (on bool) {
	for _, b := range s.all("option") {
		switch closing := []string{"http-server-close", "httpclose"}; {
		case slices.Contains(closing, b.arg(0)):
			on = true
		case b.arg(0) == "http-keep-alive", slices.Contains(closing, b.arg(1)):
			on = false
		}
	}
	return on
}
