// Package webbrowser stands in for github.com/juju/webbrowser, which the bakery library imports: a region opens no
// browser, and that module's licence, LGPL-3 without an exception for linking, would bind a static binary. It is a module
// of its own so that go.mod can put it there.
package webbrowser

import (
	"errors"
	"net/url"
)

// ErrNoBrowser says that no browser was opened; the library prints the address then.
var ErrNoBrowser = errors.New("cannot open a browser")

// Open opens none.
func Open(*url.URL) error { return ErrNoBrowser }
