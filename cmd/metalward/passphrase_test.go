package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal makes a terminal: the end of who sits before it, and the screen that a program writes to. Source: pts(4), ioctl_tty(2).
func terminal(t *testing.T) (person, screen *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal can be made here, so nobody sits before one: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	return person, screen
}

// TestPassphraseIsHidden types on a terminal, once that has stopped showing what is typed.
func TestPassphraseIsHidden(t *testing.T) {
	keyboard, screen := terminal(t)
	defer func(was *os.File) { os.Stdin = was }(os.Stdin)
	os.Stdin = screen
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	typed := make(chan error, 1)
	go func() {
		for {
			state, err := unix.IoctlGetTermios(int(screen.Fd()), unix.TCGETS)
			if err == nil && state.Lflag&unix.ECHO == 0 {
				_, err = keyboard.WriteString("a passphrase\n")
			} else if err == nil && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
				continue
			} else if err == nil {
				err = ctx.Err()
				_, _ = keyboard.WriteString("shown\n") // so that nobody waits for ever
			}
			typed <- err
			return
		}
	}()
	_, passphrase, err := opens(t.Context(), bufio.NewReader(screen), "")
	if bad := <-typed; bad != nil || err != nil || passphrase.RevealString() != "a passphrase" {
		t.Errorf("the terminal shows what is typed (%v), or it was not read: %v", bad, err)
	}
}
