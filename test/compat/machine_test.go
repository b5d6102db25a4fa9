package compat

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/canonical/gomaasclient/client"
	"github.com/canonical/gomaasclient/entity"
	"github.com/juju/gomaasapi/v2"
)

// These tests need a machine that really boots, so the stories of test/e2e run them, on a site of theirs (see
// outside in main_test.go). Deploying and releasing are tests of their own: between them a story looks at what
// was deployed.
const (
	envMachine  = "METALWARD_COMPAT_MACHINE"   // system id, Ready before a deployment, Deployed before a release
	envSeries   = "METALWARD_COMPAT_SERIES"    // image to deploy, without custom/
	envUserData = "METALWARD_COMPAT_USER_DATA" // file
)

// patience bounds a deployment or a release of an emulated machine. Stories have shorter limits of their own.
const patience = 15 * time.Minute

func realMachine(t *testing.T) (id string) {
	t.Helper()
	if id = os.Getenv(envMachine); id == "" {
		t.Skip("needs a machine that boots: make e2e runs this test on one")
	}
	return id
}

// deployment is what a story wants on its machine; user data in base64, as both clients want it.
func deployment(t *testing.T) (series, userData string) {
	t.Helper()
	b, err := os.ReadFile(os.Getenv(envUserData))
	ok(t, envUserData, err)
	return os.Getenv(envSeries), base64.StdEncoding.EncodeToString(b)
}

// await asks for the status until it is want; it may pass through the others, in any number, and no other.
func await(t *testing.T, want string, through []string, status func() (name, message string)) {
	t.Helper()
	last := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) {
		name, message := status()
		if name != last {
			t.Logf("status %s", name)
			last = name
		}
		if name == want {
			return
		}
		allowed := false
		for _, s := range through {
			allowed = allowed || s == name
		}
		if !allowed {
			t.Fatalf("got status %s (%s), want %s, through %s alone", name, message, want, strings.Join(through, ", "))
		}
	}
	t.Fatalf("the status is still %s after %s, want %s", last, patience, want)
}

func maasStatus(t *testing.T, c *client.Client, id string) func() (string, string) {
	return func() (string, string) {
		m, err := c.Machine.Get(id)
		ok(t, "read machine", err)
		return m.StatusName, m.StatusMessage
	}
}

func TestMAASDeploy(t *testing.T) {
	id := realMachine(t)
	series, userData := deployment(t)
	c := maasClient(t)
	m, err := c.Machines.Allocate(&entity.MachineAllocateParams{SystemID: id})
	ok(t, "allocate", err)
	same(t, "machine", m.SystemID, id)
	same(t, "status", m.StatusName, "Allocated")
	m, err = c.Machine.Deploy(id, &entity.MachineDeployParams{DistroSeries: series, UserData: userData})
	ok(t, "deploy", err)
	same(t, "status", m.StatusName, "Deploying")
	await(t, "Deployed", []string{"Deploying"}, maasStatus(t, c, id))
	m, err = c.Machine.Get(id)
	ok(t, "read machine", err)
	same(t, "series", m.DistroSeries, series)
	same(t, "power", m.PowerState, "on")
	same(t, "IP addresses", len(m.IPAddresses), 1)
}

func TestMAASRelease(t *testing.T) {
	id := realMachine(t)
	c := maasClient(t)
	m, err := c.Machine.Release(id, &entity.MachineReleaseParams{Comment: "done"})
	ok(t, "release", err)
	same(t, "status", m.StatusName, "Releasing")
	await(t, "Ready", []string{"Releasing"}, maasStatus(t, c, id))
	m, err = c.Machine.Get(id)
	ok(t, "read machine", err)
	same(t, "owner", m.Owner, "")
	same(t, "series", m.DistroSeries, "")
}

// jujuMachine reads one machine anew.
func jujuMachine(t *testing.T, c gomaasapi.Controller, id string) gomaasapi.Machine {
	t.Helper()
	list, err := c.Machines(gomaasapi.MachinesArgs{SystemIDs: []string{id}})
	ok(t, "machines", err)
	if len(list) != 1 {
		t.Fatalf("got %d machines %s, want 1", len(list), id)
	}
	return list[0]
}

func jujuStatus(t *testing.T, c gomaasapi.Controller, id string) func() (string, string) {
	return func() (string, string) {
		m := jujuMachine(t, c, id)
		return m.StatusName(), m.StatusMessage()
	}
}

func TestJujuDeploy(t *testing.T) {
	id := realMachine(t)
	series, userData := deployment(t)
	c := controller(t)
	m, _, err := c.AllocateMachine(gomaasapi.AllocateMachineArgs{SystemId: id, MinCPUCount: 1, MinMemory: 512, Architecture: "amd64"})
	ok(t, "allocate", err)
	same(t, "machine", m.SystemID(), id)
	same(t, "status", m.StatusName(), "Allocated")
	ok(t, "start", m.Start(gomaasapi.StartArgs{DistroSeries: series, UserData: userData}))
	same(t, "status", m.StatusName(), "Deploying")
	await(t, "Deployed", []string{"Deploying"}, jujuStatus(t, c, id))
	m = jujuMachine(t, c, id)
	same(t, "series", m.DistroSeries(), series)
	same(t, "power", m.PowerState(), "on")
	same(t, "IP addresses", len(m.IPAddresses()), 1)
}

func TestJujuRelease(t *testing.T) {
	id := realMachine(t)
	c := controller(t)
	ok(t, "release", c.ReleaseMachines(gomaasapi.ReleaseMachinesArgs{SystemIDs: []string{id}, Comment: "done"}))
	await(t, "Ready", []string{"Releasing"}, jujuStatus(t, c, id))
	same(t, "IP addresses", len(jujuMachine(t, c, id).IPAddresses()), 0)
}
