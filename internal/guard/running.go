package guard

import "time"

// Process is a process of the running host, as the kernel shows it.
type Process struct {
	PID        int
	Name, Unit string
	UID        uint32 // by which it is let do things
	Can        uint64 // the capabilities that it has, a bit each; Source: capabilities(7)
	NoMore     bool   // neither it nor what it starts can get more
}

// SnapState is what snapd knows of a snap.
type SnapState struct {
	Connections []SnapConnection
	Holds       []SnapHold // of its updates
}

// SnapConnection is what a snap may use of another, or of the system.
type SnapConnection struct {
	Plug, Slot, Interface string
	Auto                  bool // snapd has made it by itself
}

// SnapHold is who keeps updates back, and until when; Ever for ever.
type SnapHold struct {
	By    string
	Until time.Time
	Ever  bool
}
