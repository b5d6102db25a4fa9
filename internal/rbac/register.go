package rbac

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// Registration makes a site known to a service. Its calls go out in the name of the person who registers it, who has to be
// an administrator there.

// product is the label of the product that a site registers as. Its resource types and permissions are MAAS's.
const product = "maas"

// personTimeout bounds a call in a person's name, who may have to log in with a browser meanwhile.
const personTimeout = 12 * time.Minute

// Service is one that the person may register a site for.
type Service struct {
	Name    string
	URI     string // $uri
	Pending bool   // no site has registered for it yet
}

// Agent is who a registered site is: its calls prove that with the key that was registered.
type Agent struct {
	AuthURL  string // the discharger that the agent logs in at
	Username string
}

// Register registers a site's public key, base64, for the service of a name, which is created if it is not there.
// Kinds: Unavailable, Forbidden and Conflict when the person may not, Invalid for a service that has a site already, unless
// replace is set.
func (c *Client) Register(ctx context.Context, service, publicKey string, replace bool) (Agent, error) {
	a, err := c.register(ctx, service, publicKey, replace)
	if errors.Is(err, errAgent) {
		err = fmt.Errorf("%w (%w)", fault.New(fault.Forbidden, "The RBAC service does not let you register a site."), err)
	}
	return a, err
}

func (c *Client) register(ctx context.Context, service, publicKey string, replace bool) (a Agent, err error) {
	if !named(service, maxName) {
		return a, fault.Field("rbac_service_name", "Use 1 to %d printable characters.", maxName)
	}
	list, err := c.Registerable(ctx)
	if err != nil {
		return a, err
	}
	var found *Service
	for i := range list {
		if list[i].Name == service {
			found = &list[i]
		}
	}
	switch {
	case found == nil:
		created, err := c.createService(ctx, service)
		if err != nil {
			return a, err
		}
		found = &created
	case !found.Pending && !replace:
		return a, fault.Field("rbac_service_name", "A site is registered as %s already; its key would be replaced.", service)
	}
	in := struct {
		Key string `json:"public-key"`
	}{publicKey}
	var out struct {
		URL      string `json:"url"`
		Username string `json:"username"`
	}
	address, err := c.below(found.URI + "/credentials")
	if err != nil {
		return a, err
	}
	if err := c.send(ctx, personTimeout, http.MethodPost, address, in, &out); err != nil {
		return a, fmt.Errorf("cannot register a key: %w", err)
	}
	u, err := url.Parse(out.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || !named(out.Username, maxName) {
		return a, fmt.Errorf("cannot register a key: %w", errRead)
	}
	return Agent{AuthURL: strings.TrimSuffix(out.URL, "/"), Username: out.Username}, nil
}

// wireService is a service as it is written.
type wireService struct {
	Name    string `json:"name"`
	URI     string `json:"$uri"`
	Pending bool   `json:"pending"`
	Product struct {
		Ref string `json:"$ref"`
	} `json:"product"`
}

// productURI finds the product that sites register as.
func (c *Client) productURI(ctx context.Context) (string, error) {
	var list []struct {
		Label string `json:"label"`
		URI   string `json:"$uri"`
	}
	if err := c.call(ctx, personTimeout, http.MethodGet, "/api/rbac/v1/product", nil, nil, &list); err != nil {
		return "", fmt.Errorf("cannot list products: %w", err)
	}
	for _, p := range list {
		if p.Label == product && p.URI != "" {
			return p.URI, nil
		}
	}
	return "", fault.New(fault.Unavailable, "The RBAC service does not know the product %s.", product)
}

// Registerable lists the services of the product that the person may register a site for.
func (c *Client) Registerable(ctx context.Context) (list []Service, err error) {
	want, err := c.productURI(ctx)
	if err != nil {
		return nil, err
	}
	var all []wireService
	if err := c.call(ctx, personTimeout, http.MethodGet, "/api/rbac/v1/service/registerable", nil, nil, &all); err != nil {
		return nil, fmt.Errorf("cannot list services: %w", err)
	}
	if all == nil || len(all) > maxEntries {
		return nil, fmt.Errorf("cannot list services: %w", errRead)
	}
	for _, s := range all {
		if s.Product.Ref == want {
			list = append(list, Service{s.Name, s.URI, s.Pending})
		}
	}
	return list, nil
}

// createService adds a service of the product, and finds it among those that the person may register.
func (c *Client) createService(ctx context.Context, name string) (s Service, err error) {
	uri, err := c.productURI(ctx)
	if err != nil {
		return s, err
	}
	in := map[string]any{"name": name, "product": map[string]string{"$ref": uri}}
	err = c.call(ctx, personTimeout, http.MethodPost, "/api/rbac/v1/service", nil, in, nil)
	if status(err, http.StatusConflict) {
		return s, fault.New(fault.Conflict, "You may not create the service %s, or it exists and is not yours to register.", name)
	}
	if err != nil {
		return s, fmt.Errorf("cannot create a service: %w", err)
	}
	list, err := c.Registerable(ctx)
	for _, s := range list {
		if s.Name == name {
			return s, nil
		}
	}
	if err == nil {
		err = errRead
	}
	return s, fmt.Errorf("cannot find the created service: %w", err)
}

// below is the address of a $uri, which has to be on the service's own host: the key goes nowhere else.
func (c *Client) below(uri string) (string, error) {
	u, err := c.base.Parse(uri)
	if err != nil || u.Host != c.base.Host || u.Scheme != c.base.Scheme || u.User != nil {
		return "", fmt.Errorf("cannot use an address of the RBAC service: %w", errRead)
	}
	return u.String(), nil
}
