//go:build linux

// Chassis is what the BMC simulator runs to read or change its machine:
// "chassis SOCKET get power boot" or "chassis SOCKET set power 1". It passes the
// words to the test process that owns the machine and prints the answer.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chassis:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("cannot run: want SOCKET, get or set, and words")
	}
	conn, err := net.DialTimeout("unix", args[0], 5*time.Second)
	if err != nil {
		return fmt.Errorf("cannot reach the lab: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := fmt.Fprintln(conn, strings.Join(args[1:], " ")); err != nil {
		return fmt.Errorf("cannot ask the lab: %w", err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return fmt.Errorf("cannot read the lab's answer: %w", err)
	}
	status, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if status != "ok" {
		return errors.New(rest)
	}
	for value := range strings.FieldsSeq(rest) {
		fmt.Println(value)
	}
	return nil
}
