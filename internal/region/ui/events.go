package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
)

// Limits of live pages.
const (
	streamLife       = 5 * time.Minute  // then the browser opens it anew
	streamCheck      = time.Second      // a login that has ended, or rights that have changed, count after that
	streamBeat       = 20 * time.Second // keeps proxies from cutting a silent stream
	streamWrite      = 10 * time.Second
	maxStreams       = 512
	maxStreamsOfUser = 24
)

// streams counts the open ones.
type streams struct {
	mu    sync.Mutex
	open  map[string]int // by user, guarded by mu
	total int            // guarded by mu
}

// enter takes a place; false when there is none.
func (s *streams) enter(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxStreams || s.open[user] >= maxStreamsOfUser {
		return false
	}
	s.open[user]++
	s.total++
	return true
}

func (s *streams) leave(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.open[user]--; s.open[user] == 0 {
		delete(s.open, user)
	}
}

// changed is what a live page is told: that an object of a noun changed, never how. It asks for the new state
// by itself, with its own rights.
type changed struct {
	Noun authz.Noun `json:"noun"`
	ID   string     `json:"id"`
}

// events streams changes as server-sent events. Source: WHATWG HTML, server-sent events.
func (q *request) events() error {
	if q.ui.Changes == nil || q.cookie().Empty() { // for browsers
		return fault.New(fault.NotFound, "There is no such page.")
	}
	if !q.ui.streams.enter(q.who.Name) {
		return fault.New(fault.Exhausted, "Too many live pages are open.")
	}
	defer q.ui.streams.leave(q.who.Name)
	changes, cancel := q.ui.Changes()
	defer cancel()
	q.w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(q.w)
	_ = out.SetReadDeadline(time.Time{}) // the limit is for requests; an HTTP/1.1 stream would be cut by it
	send := func(text string) bool {
		_ = out.SetWriteDeadline(time.Now().Add(streamWrite)) // the server's own limit is for pages
		_, err := io.WriteString(q.w, text)
		return err == nil && out.Flush() == nil
	}
	if !send("retry: 2000\n\n") {
		return nil
	}
	beat, check, end := time.NewTicker(streamBeat), time.NewTicker(streamCheck), time.NewTimer(streamLife)
	defer beat.Stop()
	defer check.Stop()
	defer end.Stop()
	// still renews what the reader may see; false when his login has ended. Looking keeps no session from ending.
	still := func() bool {
		who, err := q.ui.Identity.Alive(q.http.Context(), q.cookie())
		q.who = who
		return err == nil
	}
	for {
		var ok bool
		var touched []authz.Target
		select {
		case <-q.http.Context().Done():
			return nil
		case <-end.C:
			return nil
		case <-beat.C:
			if !send(": beat\n\n") {
				return nil
			}
			continue
		case <-check.C:
			if !still() {
				return nil
			}
			continue
		case touched, ok = <-changes:
			if !ok || aboutPeople(touched) && !still() {
				return nil
			}
		}
		if text := q.visible(touched); text != "" && !send(text) {
			return nil
		}
	}
}

// aboutPeople reports whether a change may end logins or change rights.
func aboutPeople(touched []authz.Target) bool {
	return slices.ContainsFunc(touched, func(t authz.Target) bool {
		return t.Noun == authz.NounUser || t.Noun == authz.NounGroup || t.Noun == authz.NounRole || t.Noun == authz.NounProvider
	})
}

// viewActions are the actions that show an object of a noun; changes of others are not streamed.
var viewActions = map[authz.Noun]authz.Action{authz.NounMachine: authz.MachineView, authz.NounImage: authz.ImageView, authz.NounController: authz.ControllerView, authz.NounAlert: authz.AlertView}

// visible writes the events about objects that the caller may see, each once.
func (q *request) visible(touched []authz.Target) (text string) {
	seen := map[changed]bool{}
	for _, t := range touched {
		c := changed{t.Noun, t.ID}
		if a := viewActions[t.Noun]; a == "" || seen[c] || !q.can(a, t) {
			continue
		}
		seen[c] = true
		b, _ := json.Marshal(c) // two texts
		text += fmt.Sprintf("data: %s\n\n", b)
	}
	return text
}
