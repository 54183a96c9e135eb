package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"anymx/edge/config"
	"anymx/edge/secret"
	"anymx/xdp"
)

// Limits on the length of the cookies' secret, in bytes.
const (
	minShieldKey = 16
	maxShieldKey = 1024
)

// shieldPlan is what a config asks of the shield.
type shieldPlan struct {
	options  xdp.Options // without a log
	settings xdp.Settings
	unkeyed  error // why the settings lack the key
	allow    string
	block    string
}

// shieldWants returns what c asks of the shield, with the key read from its file. A key that can't
// be read is reported in unkeyed: a node without the shared key still protects itself. The error is
// for settings that no shield accepts.
func shieldWants(c *config.Config) (shieldPlan, error) {
	p := shieldPlan{
		options:  shieldOptions(c.Shield),
		settings: shieldSettings(c),
		allow:    c.Shield.AllowFile, block: c.Shield.BlockFile,
	}
	if file := c.Shield.KeyFile; file != "" {
		p.settings.Key, p.unkeyed = shieldKey(file)
	}
	if err := p.settings.Validate(); err != nil {
		return p, fmt.Errorf("shield: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return p, nil
}

// shieldKey reads the cookies' secret.
func shieldKey(file string) ([]byte, error) {
	key, err := secret.Read(file, maxShieldKey)
	if err == nil && len(key) < minShieldKey {
		err = fmt.Errorf("%s holds less than %d bytes", file, minShieldKey)
	}
	if err != nil {
		return nil, fmt.Errorf("shield.key_file: %w", err)
	}
	return key, nil
}

func shieldOptions(s *config.Shield) xdp.Options {
	return xdp.Options{Interfaces: s.Interfaces, Mode: xdp.Mode(s.Mode), Pins: s.Pins}
}

// shieldSettings returns the rules that c asks for, without the key. Pure.
func shieldSettings(c *config.Config) xdp.Settings {
	s := c.Shield
	return xdp.Settings{
		Services: shieldServices(c.ServicePoints()),
		Epoch:    time.Duration(s.Epoch),
		Cookies:  map[string]xdp.Cookies{"adaptive": xdp.Adaptive, "always": xdp.Always, "never": xdp.Never}[s.Cookies],
		SYNRate:  s.SYNRate, StrayRate: s.StrayRate, Hold: time.Duration(s.Hold),
		ConnectionRate: s.ConnectionRate, ConnectionBurst: s.ConnectionBurst,
		PassFragments: s.Fragments == "pass", PassUnparsable: s.Unparsable == "pass", PassUnserved: s.Unserved == "pass",
		MTU: s.MTU,
	}
}

// shieldServices groups endpoints by address, in their order. Pure.
func shieldServices(points []netip.AddrPort) []xdp.Service {
	var services []xdp.Service
	for _, point := range points {
		i := slices.IndexFunc(services, func(s xdp.Service) bool { return s.Address == point.Addr() })
		if i < 0 {
			i = len(services)
			services = append(services, xdp.Service{Address: point.Addr()})
		}
		services[i].Ports = append(services[i].Ports, point.Port())
	}
	return services
}

// parseMode parses the mode of a command.
func parseMode(text string) (xdp.Mode, error) {
	switch m := xdp.Mode(text); m {
	case xdp.Auto, xdp.Native, xdp.Generic, xdp.Off:
		return m, nil
	}
	return "", errors.New(`the mode must be "auto", "native", "generic" or "off"`)
}

// alike reports whether a shield opened with a also fits b.
func alike(a, b xdp.Options) bool {
	return a.Mode == b.Mode && a.Pins == b.Pins && slices.Equal(a.Interfaces, b.Interfaces)
}
