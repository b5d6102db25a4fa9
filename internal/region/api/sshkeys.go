package api

import (
	"strconv"

	"github.com/metalward/metalward/internal/fault"
)

func (a *API) readSSHKey(r *request) (any, error) {
	keys, err := a.Identity.SSHKeys(r.ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if strconv.FormatInt(k.ID, 10) == r.path["id"] {
			return sshKeyJSON(k), nil
		}
	}
	return nil, fault.New(fault.NotFound, "No SSHKey matches the given query.")
}
