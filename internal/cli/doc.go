// Package cli is the command line of people and scripts who use an instance: login, logout, list, and one
// command for each operation of the API, named as the maas command line names them.
//
// Commands, their arguments and their help derive from maasapi.Operations, so a new row is a new command
// without a line here. The package reads neither flags nor environment of the process: Run gets arguments,
// streams and an Env from cmd/metalward.
//
// Invariants: nothing secret is printed, credentials leave only over TLS whose certificate was verified, and
// text that a server sent reaches a terminal without control characters. Start-up must stay below 50 ms, which
// is why the parser is written by hand and nothing is prepared before it is needed.
//
// Start reading at Run.
package cli
