package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/harden"
	"github.com/metalward/metalward/internal/secret"
)

// hardenLearn writes down what a good host has, and says on standard error what could not be found out.
func hardenLearn(args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return fault.New(fault.Invalid, "learn: Name the file to write, and then the options.")
	}
	h := newHardenFlags("learn")
	if err := h.parse(args[1:]); err != nil {
		return err
	}
	if h.output != "" || h.waivers != "" || len(h.only) > 0 {
		return fault.New(fault.Invalid, "learn: It takes none of --output, --waivers and --only: what is learned goes into the file that follows the word.")
	}
	text, unknown, err := harden.Learn(h.options)
	if err != nil {
		return err
	}
	for _, line := range unknown {
		fmt.Fprintln(os.Stderr, "metalward: not learned:", line)
	}
	if err := secret.WriteFile(args[0], text); err != nil {
		return fmt.Errorf("cannot write what was learned: %w", err)
	}
	return nil
}
