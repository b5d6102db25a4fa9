package metadata_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/wire"
)

// kinds are the security events so far, by kind.
func (k *rack) kinds() map[string]int {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := map[string]int{}
	for _, e := range k.events {
		if e.Source.String() != "127.0.0.1" {
			found["not of the client"]++
		}
		found[e.Kind]++
	}
	return found
}

// A request in clear is told of, once; a connection that says nothing is not.
func TestKnock(t *testing.T) {
	k := start(t)
	at := strings.TrimPrefix(k.base, "https://")
	knock := func(text string) {
		t.Helper()
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := fmt.Fprint(c, text); err != nil {
			t.Fatal(err)
		}
		if text != "" {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			for b := make([]byte, 512); err == nil; {
				_, err = c.Read(b)
			}
		}
	}
	wait := func(text string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			k.mu.Lock()
			there := strings.Contains(k.log.String(), text)
			k.mu.Unlock()
			if there {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the log never says %q", text)
			}
		}
	}
	knock("")
	wait("EOF")
	if got := k.kinds(); len(got) != 0 {
		t.Errorf("a connection without a word: got %v", got)
	}
	for range 5 {
		knock("GET /agent/v1/task HTTP/1.1\r\nHost: rack\r\n\r\n")
	}
	wait("HTTP request to an HTTPS server")
	if got := k.kinds(); got["metadata_handshake_failed"] != 1 || len(got) != 1 {
		t.Errorf("got %v, want one report of the client", got)
	}
}

// Who asks for machines' data without the certificate of a boot is told of once; a few such requests are a mistake.
func TestScraping(t *testing.T) {
	k := start(t)
	for range 20 {
		if code, _ := k.do(t, nil, "GET", wire.SeedPath, ""); code != 401 {
			t.Fatalf("got %d", code)
		}
	}
	if got := k.kinds(); len(got) != 0 {
		t.Errorf("got %v of twenty", got)
	}
	for range 10 {
		k.do(t, nil, "GET", wire.TaskPath, "")
	}
	if got := k.kinds(); got["metadata_scraping"] != 1 || len(got) != 1 {
		t.Errorf("got %v, want one report of the client", got)
	}
}
