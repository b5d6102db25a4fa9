package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/metal"
)

// Pace of a wait.
const (
	pollEvery = time.Second
	// awayLimit is how long the instance may be away meanwhile: a restart must not fail a deployment's script.
	awayLimit = 2 * time.Minute
)

// wanted returns the statuses in which an operation has succeeded; none when there is nothing to wait for.
func wanted(o *maasapi.Operation) []metal.Status {
	switch o.ID {
	case "machine.commission":
		return []metal.Status{metal.Ready}
	case "machine.deploy":
		return []metal.Status{metal.Deployed}
	case "machine.release":
		return []metal.Status{metal.Ready, metal.New} // New when it was never commissioned
	}
	return nil
}

func waitable(o *maasapi.Operation) bool { return len(wanted(o)) > 0 }

// machineState is what a wait needs of a machine.
type machineState struct {
	Hostname   string `json:"hostname"`
	Status     int    `json:"status"`
	StatusName string `json:"status_name"`
	Event      string `json:"status_message"`
	Error      string `json:"error_description"`
}

// progress is what people see while they wait: the status and, if it says more, the newest event.
func (m *machineState) progress() string {
	if m.Event == "" || m.Event == m.StatusName {
		return m.StatusName
	}
	return m.StatusName + ": " + m.Event
}

// wait follows the machine until nothing is under way with it any more, telling people how it goes, and writes
// the machine to stdout. It fails unless the status is the one that the operation is for.
func (a *app) wait(ctx context.Context, c *client, o *maasapi.Operation, args arguments) error {
	polls := ctx
	if args.timeout > 0 {
		var cancel context.CancelFunc
		polls, cancel = context.WithTimeout(ctx, args.timeout)
		defer cancel()
	}
	line := &status{w: a.stderr, terminal: a.StderrTerminal}
	raw, m, err := a.follow(polls, c, fillPath(&maasapi.Operation{Path: "/machines/{system_id}/"}, args.path), line)
	line.end()
	if err != nil && ctx.Err() == nil && polls.Err() != nil {
		return fmt.Errorf("cannot wait any longer: after %s the machine is %s", args.timeout, m.StatusName)
	}
	if err != nil {
		return fmt.Errorf("cannot wait: %w", err)
	}
	if err := a.showRaw(raw); err != nil {
		return err
	}
	if slices.Contains(wanted(o), metal.Status(m.Status)) {
		return nil
	}
	why := m.Error
	if why == "" {
		why = m.Event
	}
	if why == "" {
		why = "the instance gives no reason"
	}
	return fmt.Errorf("%s is %s: %s", m.Hostname, m.StatusName, why)
}

// follow polls until the status is a final one.
func (a *app) follow(ctx context.Context, c *client, path string, line *status) (raw json.RawMessage, m machineState, err error) {
	var away time.Time
	for {
		raw = nil
		_, err := c.get(ctx, path, nil, &raw)
		var refused *apiError
		switch {
		case err == nil:
			away = time.Time{}
			if err := json.Unmarshal(raw, &m); err != nil {
				return nil, m, errors.New("the answer is not a machine")
			}
			line.show(m.progress())
			if _, working := metal.Status(m.Status).Failed(); !working {
				return raw, m, nil
			}
		case ctx.Err() != nil:
			return nil, m, ctx.Err()
		case errors.As(err, &refused) && refused.status < http.StatusInternalServerError:
			return nil, m, err
		case away.IsZero():
			away = time.Now()
			line.show(err.Error())
		case time.Since(away) > awayLimit:
			return nil, m, err
		}
		select {
		case <-ctx.Done():
			return nil, m, ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}
