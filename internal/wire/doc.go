// Package wire is all that region, rack and agent have in common: their messages and how they travel.
//
// Between region and rack: the rack dials the region, mutual TLS 1.3, then yamux over that one connection, and
// HTTP/1.1 with JSON bodies over its streams. Each side serves and each side calls, so the region never dials
// a rack. Between rack and agent: HTTPS with the same JSON. The messages table lists every call with who may
// make it; a handler that is not in the table cannot be registered, a row without a handler does not start.
//
// Versions: Protocol is raised when a message changes in a way that an older peer would misread, with a line
// in the history below. A peer must offer the same number.
//
//	1  2026-11  first version
package wire

// Protocol is the version of the messages in this package.
const Protocol = 1
