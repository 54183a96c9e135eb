package xdp

import (
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// Status is the current state of the shield.
type Status struct {
	Interfaces []InterfaceStatus // in the order of Options.Interfaces
	// Problem says why the shield protects less than it could; empty: it has no problem.
	Problem string

	StackCookies    bool   // the kernel's own cookies: only the MSS, only one node
	WhyStackCookies string // what the kernel lacks
	SharedKey       bool   // cookies of other nodes are accepted
	Epoch           uint64 // number of the key that creates cookies

	SYNs   Pressure // SYNs for served ports
	Strays Pressure // segments that match nothing

	Listed int // prefixes on the block and allow lists
}

// InterfaceStatus is the state of the shield on an interface.
type InterfaceStatus struct {
	Name    string
	Mode    Mode   // of XDP; Off: packets pass uninspected
	Admits  bool   // returned cookies are handed to listeners
	Problem string // why it is not attached as desired; empty: it is
}

// Pressure compares the rate of one kind of packet with its limit.
type Pressure struct {
	On    bool          // above the limit, or was within Settings.Hold
	Left  time.Duration // until it ends, if no more packets arrive
	Peak  float64       // packets per second, in the fullest window of 134 ms since the maps were created
	Limit float64       // packets per second
}

// Status reads the state of the shield. The error is about reading it.
func (s *Shield) Status() (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		StackCookies: s.admit == nil, WhyStackCookies: s.why,
		SharedKey: len(s.settings.Key) > 0, Epoch: s.epoch, Listed: len(s.listed),
	}
	devices, err := netlink.LinkList()
	if err != nil {
		return st, fmt.Errorf("interfaces: %w", err)
	}
	for _, name := range s.options.Interfaces {
		st.Interfaces = append(st.Interfaces, s.interfaceStatus(named(devices, name), name))
	}
	table, err := only[bpfSettings](s.maps.Settings)
	if err != nil {
		return st, fmt.Errorf("settings: %w", err)
	}
	now := monotonic()
	for which, p := range map[bpfMeterOf]*Pressure{bpfMeterOfSYNS: &st.SYNs, bpfMeterOfSTRAYS: &st.Strays} {
		var meter bpfMeter
		if err := s.maps.Meters.Lookup(which, &meter); err != nil {
			return st, fmt.Errorf("meters: %w", err)
		}
		*p = pressureOf(meter, table, which, now)
	}
	st.Problem = s.problem(st.Interfaces)
	return st, nil
}

func pressureOf(meter bpfMeter, table bpfSettings, which bpfMeterOf, now uint64) Pressure {
	p := Pressure{
		Peak:  float64(meter.Peak) / window.Seconds(),
		Limit: float64(table.Limits[which]) / window.Seconds(),
		On:    Cookies(table.Cookies) == Always,
	}
	if Cookies(table.Cookies) == Adaptive && meter.Until > now {
		p.On, p.Left = true, time.Duration(meter.Until-now)
	}
	return p
}

func (s *Shield) interfaceStatus(device netlink.Link, name string) InterfaceStatus {
	st := InterfaceStatus{Name: name, Mode: Off, Problem: s.problems[name]}
	if device != nil && s.hooks[hookName(shieldOn, device)] != nil {
		st.Mode = modeOf(device)
		st.Admits = s.hooks[hookName(admitOn, device)] != nil
	}
	if st.Mode == Off && st.Problem == "" && s.options.Mode != Off {
		st.Problem = fmt.Sprintf("interface %s: not attached", name)
	}
	return st
}

// problem returns the most serious problem.
func (s *Shield) problem(interfaces []InterfaceStatus) string {
	bare := slices.IndexFunc(interfaces, func(i InterfaceStatus) bool { return i.Problem != "" })
	switch {
	case !s.ready:
		return "not configured: everything passes"
	case s.options.Mode == Off:
		return ""
	case bare >= 0:
		return interfaces[bare].Problem
	case !s.stack.cookies && s.settings.Cookies != Never:
		return "net.ipv4.tcp_syncookies is 0: no SYN is answered"
	}
	return ""
}
