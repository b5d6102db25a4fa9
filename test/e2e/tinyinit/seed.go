//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// seed is what the NoCloud directory holds.
type seed struct {
	Meta        metaData
	UserDataSum string // sha256 of user-data, as hex
	PhoneHome   *phone
	Network     *networkConfig // nil: DHCP on the first card
}

type metaData struct {
	InstanceID string `yaml:"instance-id"`
	Hostname   string `yaml:"local-hostname"`
}

type phone struct {
	URL   string    `yaml:"url"`
	Post  yaml.Node `yaml:"post"` // a list of names, or the word all
	Tries int       `yaml:"tries"`
}

// networkConfig is the part of netplan's version 2 that a test needs: one
// Ethernet card with DHCP or fixed addresses.
type networkConfig struct {
	Ethernets map[string]ethernet `yaml:"ethernets"`
}

type ethernet struct {
	Match struct {
		MAC string `yaml:"macaddress"`
	} `yaml:"match"`
	DHCP4     bool     `yaml:"dhcp4"`
	Addresses []string `yaml:"addresses"`
	Gateway4  string   `yaml:"gateway4"`
	Routes    []struct {
		To  string `yaml:"to"`
		Via string `yaml:"via"`
	} `yaml:"routes"`
	Nameservers struct {
		Addresses []string `yaml:"addresses"`
	} `yaml:"nameservers"`
}

// readSeed reads the seed. meta-data and user-data are required, as they are
// for cloud-init.
func readSeed(root string) (*seed, error) {
	dir := filepath.Join(root, "var/lib/cloud/seed/nocloud")
	var s seed

	meta, err := os.ReadFile(filepath.Join(dir, "meta-data"))
	if err != nil {
		return nil, fmt.Errorf("cannot read meta-data: %w", err)
	}
	if err := yaml.Unmarshal(meta, &s.Meta); err != nil {
		return nil, fmt.Errorf("cannot parse meta-data: %w", err)
	}
	if s.Meta.InstanceID == "" {
		return nil, errors.New("cannot use meta-data: it has no instance-id")
	}

	user, err := os.ReadFile(filepath.Join(dir, "user-data"))
	if err != nil {
		return nil, fmt.Errorf("cannot read user-data: %w", err)
	}
	sum := sha256.Sum256(user)
	s.UserDataSum = hex.EncodeToString(sum[:])

	vendor, err := os.ReadFile(filepath.Join(dir, "vendor-data"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read vendor-data: %w", err)
	}
	if bytes.HasPrefix(vendor, []byte("#cloud-config")) {
		var c struct {
			PhoneHome *phone `yaml:"phone_home"`
		}
		if err := yaml.Unmarshal(vendor, &c); err != nil {
			return nil, fmt.Errorf("cannot parse vendor-data: %w", err)
		}
		s.PhoneHome = c.PhoneHome
	}

	network, err := os.ReadFile(filepath.Join(dir, "network-config"))
	if errors.Is(err, os.ErrNotExist) {
		return &s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read network-config: %w", err)
	}
	// cloud-init accepts the configuration with and without the outer key.
	var outer struct {
		Network *networkConfig `yaml:"network"`
	}
	if err := yaml.Unmarshal(network, &outer); err != nil {
		return nil, fmt.Errorf("cannot parse network-config: %w", err)
	}
	if s.Network = outer.Network; s.Network == nil {
		s.Network = new(networkConfig)
		if err := yaml.Unmarshal(network, s.Network); err != nil {
			return nil, fmt.Errorf("cannot parse network-config: %w", err)
		}
	}
	return &s, nil
}

// forMAC returns the configuration of the card, or nil for DHCP.
func (c *networkConfig) forMAC(mac string) *ethernet {
	if c == nil {
		return nil
	}
	for _, e := range c.Ethernets {
		if strings.EqualFold(e.Match.MAC, mac) || (e.Match.MAC == "" && len(c.Ethernets) == 1) {
			return &e
		}
	}
	return nil
}
