package metal

import "time"

// RightsAge is how old the answer of an RBAC service may be by which a user acts. Without a younger one he does not act.
const RightsAge = 10 * time.Second
