package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Defaults and limits of Settings.
const (
	DefaultSYNRate   = 1000
	DefaultStrayRate = 1000
	DefaultHold      = 10 * time.Second
	DefaultEpoch     = 2 * time.Minute
	DefaultMTU       = 1500

	minKey      = 16
	minEpoch    = 4 * time.Second
	maxServices = 256 // of each IP version, as in bpf/tables.h
	maxPorts    = len(bpfService{}.Ports)
	window      = 1 << 27 * time.Nanosecond // WINDOW_BITS of bpf/pressure.h
)

// Service is a protected address.
type Service struct {
	Address netip.Addr
	Ports   []uint16 // TCP ports that it serves: 1 to 8
}

// Cookies says when the shield answers SYNs.
type Cookies uint32

// When the shield answers SYNs.
const (
	Adaptive Cookies = iota // above Settings.SYNRate
	Always
	Never // SYNs pass, and strays are never dropped
)

// Settings are the rules for packets. They can be changed at any time.
type Settings struct {
	// Services are the protected addresses. Empty: everything passes.
	Services []Service

	// Key creates the cookies, from 16 bytes or more. Nodes with the same key, Epoch and clock
	// accept each other's cookies. Empty: a random key that is stored in the pinned maps.
	Key []byte
	// Epoch is how long a key derived from Key creates cookies; 0 means 2m, the minimum is 4s. A
	// cookie is valid for at least half of it and at most one and a half; clocks of nodes may
	// differ by half of it.
	Epoch time.Duration

	Cookies Cookies
	// SYNRate is how many SYNs per second, to all services together, pass to the stack; 0 means
	// 1000.
	SYNRate int
	// StrayRate is how many segments per second that match nothing pass to the stack, which resets
	// them; 0 means 1000. While SYNs are answered, none pass.
	StrayRate int
	// Hold is how long pressure lasts after the rate was last exceeded; 0 means 10s.
	Hold time.Duration

	// ConnectionRate is how many new connections per second a source prefix (/24 or /64) may open,
	// counted once its address is validated; 0: unlimited.
	ConnectionRate int
	// ConnectionBurst is how many it may open at once; 0 means ten seconds' worth.
	ConnectionBurst int

	PassUnparsable bool // pass what can't be parsed
	PassFragments  bool // pass fragments for service addresses
	PassUnserved   bool // pass UDP and other TCP ports of service addresses

	// MTU of the path to clients, which determines the MSS in SYN-ACKs; 0 means 1500.
	MTU int
}

// Validate returns everything that is wrong with the settings, each with the field's name.
func (s Settings) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	seen := map[netip.Addr]bool{}
	versions := [2]int{}
	for _, service := range s.Services {
		a := service.Address
		switch {
		case !a.IsValid() || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast():
			fault("Services: %s is not an address that can be protected", a)
		case seen[a]:
			fault("Services: %s is named twice", a)
		case len(service.Ports) == 0 || len(service.Ports) > maxPorts:
			fault("Services: %s has %d ports, not 1 to %d", a, len(service.Ports), maxPorts)
		}
		for _, port := range service.Ports {
			if port == 0 {
				fault("Services: %s has port 0", a)
			}
		}
		seen[a] = true
		if a.Is4() {
			versions[0]++
		} else {
			versions[1]++
		}
	}
	if max(versions[0], versions[1]) > maxServices {
		fault("Services: more than %d addresses of one IP version", maxServices)
	}
	if len(s.Key) > 0 && len(s.Key) < minKey {
		fault("Key: shorter than %d bytes", minKey)
	}
	if s.Epoch != 0 && s.Epoch < minEpoch {
		fault("Epoch: %s is below %s", s.Epoch, minEpoch)
	}
	if s.Cookies > Never {
		fault("Cookies: unknown value %d", s.Cookies)
	}
	if s.MTU != 0 && (s.MTU < 1280 || s.MTU > 65535) {
		fault("MTU: %d is not between 1280 and 65535", s.MTU)
	}
	for name, value := range map[string]int{"SYNRate": s.SYNRate, "StrayRate": s.StrayRate, "ConnectionRate": s.ConnectionRate, "ConnectionBurst": s.ConnectionBurst, "Hold": int(s.Hold)} {
		if value < 0 {
			fault("%s: below 0", name)
		}
	}
	return errors.Join(faults...)
}

// filled returns s with its defaults.
func (s Settings) filled() Settings {
	fill(&s.Epoch, DefaultEpoch)
	fill(&s.SYNRate, DefaultSYNRate)
	fill(&s.StrayRate, DefaultStrayRate)
	fill(&s.Hold, DefaultHold)
	fill(&s.ConnectionBurst, 10*s.ConnectionRate)
	fill(&s.MTU, DefaultMTU)
	return s
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Flags of the settings map, as in bpf/tables.h.
const (
	flagReady = 1 << iota
	flagAccess4
	flagAccess6
	flagShared
	flagNoSACK
	flagNoTimestamps
	flagNoWindowScale
)

// table returns s in the programs' format. stack limits it to what the stack accepts; the caller
// sets the flags of the access lists.
func (s Settings) table(stack sysctls) bpfSettings {
	s = s.filled()
	t := bpfSettings{
		Flags:   flagReady | stack.flags(),
		Drops:   s.drops(),
		Cookies: uint32(s.Cookies),
		Mss4:    uint16(s.MTU - 40),
		Mss6:    uint16(s.MTU - 60),
		Limits:  [2]uint64{inWindow(s.SYNRate), inWindow(s.StrayRate)},
		Hold:    uint64(s.Hold),
		Memory:  uint64(s.Epoch),
	}
	if len(s.Key) > 0 {
		t.Flags |= flagShared
	}
	if !stack.cookies {
		t.Cookies = uint32(Never) // the stack would refuse the admitted segments
	}
	if s.ConnectionRate > 0 {
		t.Interval = uint64(time.Second) / uint64(s.ConnectionRate)
		t.Burst = t.Interval * uint64(max(s.ConnectionBurst-1, 0))
	}
	return t
}

// drops has a bit for each verdict that is dropped.
func (s Settings) drops() uint32 {
	drops := uint32(1<<Malformed | 1<<Blocked | 1<<Limited | 1<<SYNFailed | 1<<Bogus)
	for verdict, passes := range map[Verdict]bool{Unparsable: s.PassUnparsable, Fragment: s.PassFragments, Unserved: s.PassUnserved} {
		if !passes {
			drops |= 1 << verdict
		}
	}
	return drops
}

// inWindow converts a rate per second to a count per window of a meter, at least 1.
func inWindow(rate int) uint64 {
	return max(uint64(rate)*uint64(window)/uint64(time.Second), 1)
}

// row returns the service in the format of its map.
func (s Service) row() bpfService {
	var row bpfService
	for i, port := range s.Ports {
		row.Ports[i] = swap16(port)
	}
	return row
}

// swap16 returns n in network byte order, on a little-endian machine.
func swap16(n uint16) uint16 {
	return binary.LittleEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}
