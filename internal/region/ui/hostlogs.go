package ui

import (
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/region/store"
)

// logsOld is for how long what a controller told of its logs is taken to be so still: it tells again every hour.
const logsOld = 3 * time.Hour

// hostLogs is which logs a controller reads, for people: those that are there first.
type hostLogs struct {
	store.HostLogs
	There  []detect.LogState
	Absent []string
	Old    bool
}

// hostLogs lists which logs the controllers read.
func (q *request) hostLogs() error {
	list, err := q.ui.Alerts.Logs(q.http.Context())
	if err != nil {
		return err
	}
	var d []hostLogs
	for _, h := range list {
		l := hostLogs{HostLogs: h, Old: time.Since(h.At) > logsOld}
		for _, s := range h.Logs {
			if s.State == detect.LogAbsent {
				l.Absent = append(l.Absent, s.Name)
			} else {
				l.There = append(l.There, s)
			}
		}
		d = append(d, l)
	}
	return q.show("alert_logs", "Logs that controllers read", d)
}
