//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"strings"

	"github.com/metalward/metalward/test/e2e/lab"
)

// people makes the pool "lab" with the machine in it, and somebody of each role there; and one with rights in the pool
// "default" only, who must not even learn that the machine exists.
func (s *site) people(ctx context.Context, id string) {
	s.t.Helper()
	s.api(ctx, "POST", "/resourcepools/", "name", "lab")
	s.api(ctx, "PUT", "/machines/"+id+"/", "pool", "lab")
	s.keys = map[string]string{"admin": s.key}
	for name, role := range map[string]string{"oper": "Operator", "user": "User", "audit": "Auditor", "elsewhere": ""} {
		s.api(ctx, "POST", "/users/", "username", name, "email", name+"@example.com", "password", "an unlikely pass phrase", "is_superuser", "0")
		if role != "" {
			s.api(ctx, "POST", "/grants/", "user", name, "role", role, "pool", "lab")
		}
		key, err := s.metalward(ctx, lab.Region, "", "apikey", "--state-dir", s.stateDir, "--username", name)
		s.must(err)
		s.keys[name] = strings.TrimSpace(key)
	}
}

// refused has the other roles try what the Operator is about to do.
func (s *site) refused(ctx context.Context, id string) {
	s.t.Helper()
	was := s.key
	defer func() { s.key = was }()
	for name, want := range map[string]map[string]int{
		"user":      {"op-commission": http.StatusForbidden, "op-power_on": http.StatusForbidden, "op-release": http.StatusForbidden},
		"audit":     {"op-commission": http.StatusForbidden, "op-power_on": http.StatusForbidden, "op-deploy": http.StatusForbidden},
		"elsewhere": {"op-deploy": http.StatusNotFound, "op-power_on": http.StatusNotFound, "op-release": http.StatusNotFound},
	} {
		s.key = s.keys[name]
		for op, status := range want {
			if got, body := s.call(ctx, "POST", "/machines/"+id+"/"+op); got != status {
				s.t.Errorf("%s as %s: got %d %.100s, want %d", op, name, got, body, status)
			}
		}
		status := http.StatusOK
		if name == "elsewhere" {
			status = http.StatusNotFound
		}
		if got, _ := s.call(ctx, "GET", "/machines/"+id+"/"); got != status {
			s.t.Errorf("reading as %s: got %d, want %d", name, got, status)
		}
		if got, _ := s.call(ctx, "GET", "/machines/"+id+"/?op=power_parameters"); got == http.StatusOK {
			s.t.Errorf("%s reads power parameters", name)
		}
		if got, _ := s.call(ctx, "POST", "/boot-resources/", "name", "custom/x"); got != http.StatusForbidden {
			s.t.Errorf("%s uploads images: got %d", name, got)
		}
	}
}
