package xdp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Mode is where on an interface the shield's program runs.
type Mode string

// Where on an interface the shield's program runs.
const (
	Auto    Mode = "auto"    // native, or generic if the driver has no XDP; an existing attachment stays
	Native  Mode = "native"  // in the driver, before the kernel allocates anything
	Generic Mode = "generic" // in the kernel's receive path: any driver, about the cost of a firewall rule
	Off     Mode = "off"     // nowhere: everything passes
)

// Options are the options of Open.
type Options struct {
	// Interfaces are the hardware interfaces on which packets for the services arrive. VLAN devices
	// on top of them are included automatically.
	Interfaces []string
	Mode       Mode // empty: Auto
	// Pins is a directory on a BPF file system (/sys/fs/bpf), created if missing, in which maps and
	// links outlive the process. Empty: the protection ends with Close.
	Pins string
	Log  *slog.Logger // nil: none

	stackCookies bool // as on a kernel before 6.9; for tests
}

// layout is the version of the data that bpf/tables.h defines. Maps of another layout are not
// reused.
const layout = "1"

// Shield has the loaded programs, their maps and the links that attach them. It is safe for
// concurrent use.
type Shield struct {
	options Options
	maps    bpfMaps
	shield  *ebpf.Program
	admit   *ebpf.Program // nil: the cookies are the stack's
	why     string        // what is missing if admit is nil

	mu       sync.Mutex
	settings Settings
	stack    sysctls
	ready    bool
	epoch    uint64
	listed   map[netip.Prefix]Listed
	lengths  [2]int // of listed, IPv4 and IPv6
	hooks    map[string]link.Link
	problems map[string]string // by interface
}

// Open loads programs and creates maps, or reuses the pinned maps with their content. No packet is
// affected before Attach. A *MissingError says what the process or the kernel lacks.
func Open(o Options) (*Shield, error) {
	fill(&o.Mode, Auto)
	switch o.Mode {
	case Auto, Native, Generic, Off:
	default:
		return nil, fmt.Errorf("shield mode %q: not auto, native, generic or off", o.Mode)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := able(); err != nil {
		return nil, err
	}
	s := &Shield{options: o, hooks: map[string]link.Link{}, problems: map[string]string{}}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("loading the shield: %w", err)
	}
	if err := s.restore(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// load sets maps, shield and admit.
func (s *Shield) load() error {
	spec, err := loadBpf()
	if err != nil {
		return err
	}
	if s.why = s.lacksHandOver(); s.why != "" {
		delete(spec.Programs, "admit")
		if err := spec.Variables["stack_cookies"].Set(true); err != nil {
			return err
		}
	}
	var o ebpf.CollectionOptions
	if s.options.Pins != "" {
		o.Maps.PinPath = filepath.Join(s.options.Pins, "maps-"+layout)
		if err := os.MkdirAll(o.Maps.PinPath, 0o700); err != nil {
			return fmt.Errorf("pins: %w", err)
		}
		for name, m := range spec.Maps {
			if name != ".rodata" {
				m.Pinning = ebpf.PinByName
			}
		}
	}
	all, err := ebpf.NewCollectionWithOptions(spec, o)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return fmt.Errorf("pins: %s holds maps of another program: %w", o.Maps.PinPath, err)
	}
	if err != nil {
		return explain(err)
	}
	defer all.Close()
	if err := all.Assign(&s.maps); err != nil {
		return err
	}
	s.shield, s.admit = all.DetachProgram("shield"), all.DetachProgram("admit")
	return nil
}

func (s *Shield) lacksHandOver() string {
	if s.options.stackCookies {
		return "switched off"
	}
	return lacksHandOver()
}

// Configure applies settings from now on. If anything is wrong with them, it refuses all of them
// and returns every error. A change of limits is one map write and affects neither packets nor
// handshakes; a change of Key or Epoch breaks handshakes in progress.
func (s *Shield) Configure(settings Settings) error {
	if err := settings.Validate(); err != nil {
		return fmt.Errorf("shield settings: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings, s.stack = settings, readSysctls()
	if err := s.rotate(time.Now()); err != nil {
		return fmt.Errorf("cookie keys: %w", err)
	}
	if err := s.serve(settings.Services); err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if err := s.put(); err != nil {
		return err
	}
	s.ready = true
	return nil
}

// put writes the rules, limited to what the stack supports. The caller holds s.mu.
func (s *Shield) put() error {
	table := s.settings.table(s.stack)
	table.Flags |= s.listFlags()
	if err := s.maps.Settings.Put(first, table); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return nil
}

// follow checks whether the stack still accepts cookies and which options it supports: a reply that
// it doesn't support would reset every client. The caller holds s.mu.
func (s *Shield) follow() error {
	stack := readSysctls()
	if stack == s.stack {
		return nil
	}
	s.stack = stack
	s.options.Log.Warn("the stack's settings are others", "cookies", stack.cookies, "sack", stack.sack,
		"timestamps", stack.timestamps, "window_scale", stack.windowScale)
	return s.put()
}

// serve sets the content of the service maps.
func (s *Shield) serve(services []Service) error {
	want4, want6 := map[[4]byte]bpfService{}, map[[16]byte]bpfService{}
	for _, service := range services {
		if service.Address.Is4() {
			want4[service.Address.As4()] = service.row()
		} else {
			want6[service.Address.As16()] = service.row()
		}
	}
	return errors.Join(become(s.maps.Services4, want4), become(s.maps.Services6, want6))
}

// become makes the content of m equal to want. Entries that are already right are not touched.
func become[K comparable](m *ebpf.Map, want map[K]bpfService) error {
	var gone []K
	var key K
	var row bpfService
	rows := m.Iterate()
	for rows.Next(&key, &row) {
		if _, stays := want[key]; !stays {
			gone = append(gone, key)
		}
	}
	faults := []error{rows.Err()}
	for key, row := range want {
		faults = append(faults, m.Put(key, row))
	}
	for _, key := range gone {
		faults = append(faults, m.Delete(key))
	}
	return errors.Join(faults...)
}

const (
	tickEvery   = time.Second
	attachEvery = 10 * time.Second
)

// Run does what needs a process, until ctx ends: it rotates cookie keys by the wall clock, removes
// expired entries, and attaches to new interfaces and VLANs. It needs Configure first. When it
// returns, the protection stays in place.
func (s *Shield) Run(ctx context.Context) error {
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	attached := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		if err := s.tick(time.Now()); err != nil {
			s.options.Log.Error("shield", "err", err)
		}
		if time.Since(attached) >= attachEvery {
			attached = time.Now()
			if err := s.Attach(); err != nil {
				s.options.Log.Warn("shield is not attached", "err", err)
			}
		}
	}
}

func (s *Shield) tick(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return nil
	}
	return errors.Join(s.rotate(now), s.sweep(now), s.follow())
}

// Close releases everything. What is pinned continues to protect; everything else ends.
func (s *Shield) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []error
	for name, hook := range s.hooks {
		if s.options.Pins == "" {
			faults = append(faults, s.detach(name, hook))
			continue
		}
		delete(s.hooks, name)
		faults = append(faults, hook.Close())
	}
	for _, program := range []*ebpf.Program{s.shield, s.admit} {
		if program != nil {
			faults = append(faults, program.Close())
		}
	}
	return errors.Join(append(faults, s.maps.Close())...)
}
