package xdp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// MaxListed is the limit of prefixes per IP version that Block and Allow accept together.
const MaxListed = 100_000

// Listed is a prefix on the block list or the allow list. The longest prefix that contains a source
// decides.
type Listed struct {
	Prefix netip.Prefix
	// Allowed sources are not blocked by a shorter prefix and have no connection rate. They get
	// cookies like any other, since an address can be forged.
	Allowed bool
	Until   time.Time // zero: permanent
}

// Actions of the access maps, as in bpf/tables.h.
const (
	actionPasses = 1
	actionBlocks = 2
)

// ErrListFull is returned by Block and Allow when MaxListed is reached.
var ErrListFull = errors.New("the list is full")

// Block drops everything from prefix to a service address until the given time; zero: permanently.
// It replaces an earlier entry for this prefix.
func (s *Shield) Block(prefix netip.Prefix, until time.Time) error {
	return s.list(Listed{Prefix: prefix, Until: until})
}

// Allow exempts prefix from blocks of shorter prefixes and from the connection rate until the given
// time; zero: permanently.
func (s *Shield) Allow(prefix netip.Prefix, until time.Time) error {
	return s.list(Listed{Prefix: prefix, Allowed: true, Until: until})
}

// Unlist removes what Block or Allow set for this prefix. It reports whether there was an entry.
func (s *Shield) Unlist(prefix netip.Prefix) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unlist(prefix.Masked())
}

// Lists returns all entries in undefined order.
func (s *Shield) Lists() []Listed {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Listed, 0, len(s.listed))
	for _, l := range s.listed {
		all = append(all, l)
	}
	return all
}

func (s *Shield) list(l Listed) error {
	if !l.Prefix.IsValid() || l.Prefix.Addr().Is4In6() {
		return fmt.Errorf("prefix %s can't be listed", l.Prefix)
	}
	l.Prefix = l.Prefix.Masked()
	s.mu.Lock()
	defer s.mu.Unlock()
	row := bpfAccess{Action: actionBlocks}
	if l.Allowed {
		row.Action = actionPasses
	}
	if !l.Until.IsZero() {
		left := time.Until(l.Until)
		if left <= 0 {
			_, err := s.unlist(l.Prefix)
			return err
		}
		row.Expires = monotonic() + uint64(left)
	}
	// The flag comes first: a packet only looks at the map if it is set.
	family := familyOf(l.Prefix)
	before, known := s.listed[l.Prefix]
	if !known && s.lengths[family] >= MaxListed {
		return fmt.Errorf("prefix %s: %w (%d)", l.Prefix, ErrListFull, MaxListed)
	}
	if !known {
		s.lengths[family]++
	}
	s.listed[l.Prefix] = l
	if err := s.flagLists(); err != nil {
		return err
	}
	if err := s.accessMap(l.Prefix).Put(accessKey(l.Prefix), row); err != nil {
		if s.forget(l.Prefix); known { // the previous entry still applies
			s.listed[l.Prefix] = before
			s.lengths[family]++
		}
		return fmt.Errorf("prefix %s: %w", l.Prefix, err)
	}
	return nil
}

func (s *Shield) forget(prefix netip.Prefix) {
	delete(s.listed, prefix)
	s.lengths[familyOf(prefix)]--
}

// familyOf returns 0 for IPv4 and 1 for IPv6.
func familyOf(prefix netip.Prefix) int {
	if prefix.Addr().Is4() {
		return 0
	}
	return 1
}

// unlist removes an entry. The caller holds s.mu.
func (s *Shield) unlist(prefix netip.Prefix) (bool, error) {
	_, known := s.listed[prefix]
	if !known {
		return false, nil
	}
	if err := s.accessMap(prefix).Delete(accessKey(prefix)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, fmt.Errorf("prefix %s: %w", prefix, err)
	}
	s.forget(prefix)
	return true, s.flagLists()
}

// sweep removes expired entries. The programs ignore them, but they would hide shorter prefixes.
// The caller holds s.mu.
func (s *Shield) sweep(now time.Time) error {
	var faults []error
	for prefix, l := range s.listed {
		if !l.Until.IsZero() && !l.Until.After(now) {
			_, err := s.unlist(prefix)
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// restore reads the entries of an earlier process.
func (s *Shield) restore() error {
	s.listed = map[netip.Prefix]Listed{}
	now, clock := time.Now(), monotonic()
	keep := func(prefix netip.Prefix, row bpfAccess) {
		l := Listed{Prefix: prefix, Allowed: row.Action == actionPasses}
		if row.Expires != 0 {
			l.Until = now.Add(time.Duration(row.Expires - clock))
		}
		s.listed[prefix] = l
		s.lengths[familyOf(prefix)]++
	}
	var row bpfAccess
	var key4 bpfPrefix4
	rows := s.maps.Access4.Iterate()
	for rows.Next(&key4, &row) {
		keep(netip.PrefixFrom(netip.AddrFrom4(key4.Address), int(key4.Bits)), row)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the IPv4 lists: %w", err)
	}
	var key6 bpfPrefix6
	rows = s.maps.Access6.Iterate()
	for rows.Next(&key6, &row) {
		keep(netip.PrefixFrom(netip.AddrFrom16(key6.Address), int(key6.Bits)), row)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the IPv6 lists: %w", err)
	}
	return nil
}

// flagLists tells the programs which access maps are not empty. The caller holds s.mu.
func (s *Shield) flagLists() error {
	table, err := only[bpfSettings](s.maps.Settings)
	if err != nil {
		return err
	}
	flags := table.Flags&^(flagAccess4|flagAccess6) | s.listFlags()
	if flags == table.Flags {
		return nil
	}
	table.Flags = flags
	return s.maps.Settings.Put(first, table)
}

func (s *Shield) listFlags() (flags uint32) {
	if s.lengths[0] > 0 {
		flags |= flagAccess4
	}
	if s.lengths[1] > 0 {
		flags |= flagAccess6
	}
	return flags
}

func (s *Shield) accessMap(prefix netip.Prefix) *ebpf.Map {
	if prefix.Addr().Is4() {
		return s.maps.Access4
	}
	return s.maps.Access6
}

func accessKey(prefix netip.Prefix) any {
	if prefix.Addr().Is4() {
		return bpfPrefix4{Bits: uint32(prefix.Bits()), Address: prefix.Addr().As4()}
	}
	return bpfPrefix6{Bits: uint32(prefix.Bits()), Address: prefix.Addr().As16()}
}
