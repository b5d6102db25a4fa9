package metal

import "time"

// Level is the weight of an event. Source: MAAS API 2.0, event levels (Python logging's numbers).
type Level int

// The levels.
const (
	LevelDebug   Level = 10
	LevelInfo    Level = 20
	LevelWarning Level = 30
	LevelError   Level = 40
)

// String returns MAAS's name of the level.
func (l Level) String() string {
	return map[Level]string{LevelDebug: "DEBUG", LevelInfo: "INFO", LevelWarning: "WARNING", LevelError: "ERROR"}[l]
}

// Event is what happened to a node, shown to users. It is not an audit event.
type Event struct {
	ID          int64
	SystemID    string
	Type        string // MAAS's event description, such as "Ready" or "Powering on"
	Level       Level
	Description string
	Username    string
	Created     time.Time
}

// AuditEvent is one link of the trail: who did what to which object, from where, and how it ended.
type AuditEvent struct {
	Region    string
	Sequence  int64
	Time      time.Time
	Principal string // "user:alice", "rack:…", "machine:…", "system:…" or "anonymous"
	Action    string
	Target    string // "machine:abc…"; empty when none
	Outcome   string // success, denied, failed
	Source    string // peer address
	RequestID string
	Detail    map[string]string
	Hash      string // hex; empty until sealed
}

// The outcomes of an audited call.
const (
	OutcomeSuccess = "success"
	OutcomeDenied  = "denied"
	OutcomeFailed  = "failed"
)
