package certs

import (
	"strconv"

	"github.com/metalward/metalward/internal/region/gate"
)

// defaultHSTS is what browsers are told until the settings were read.
const defaultHSTS = "max-age=31536000"

// HSTS is the header Strict-Transport-Security, as the settings want it: max-age=0 has browsers forget it. They are read every few
// seconds with the certificate. Source: RFC 6797 section 6.1.
func (s *Service) HSTS() string {
	if text := s.hsts.Load(); text != nil {
		return *text
	}
	return defaultHSTS
}

func (s *Service) loadHSTS(v *gate.Viewing) error {
	age, err := v.SettingInt("metalward_hsts_max_age")
	if err != nil {
		return err
	}
	below, err := v.SettingValue("metalward_hsts_include_subdomains")
	if err != nil {
		return err
	}
	text := "max-age=" + strconv.Itoa(age)
	if below == true {
		text += "; includeSubDomains"
	}
	s.hsts.Store(&text)
	return nil
}
