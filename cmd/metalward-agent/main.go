// Command metalward-agent is /init of the ephemeral system.
package main

import (
	"os"

	"github.com/metalward/metalward/internal/agent"
)

func main() {
	if os.Getpid() == 1 {
		agent.Init()
	}
	os.Exit(agent.Work())
}
