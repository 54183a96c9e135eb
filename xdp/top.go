package xdp

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// sample is SAMPLE of bpf/tables.h: one packet in 64 is inspected.
const sample = 64

// Noisy is a source prefix, a /24 or a /64, of dropped or answered packets. In a flood from forged
// addresses, it says nothing about the real sender.
type Noisy struct {
	Prefix  netip.Prefix
	Packets uint64 // estimated from a sample
	Bytes   uint64 // likewise
	Last    Verdict
	Seen    time.Time // when the last packet of the sample arrived
}

// Opener is a source prefix, a /24 or a /64, that opened connections and so validated its address.
type Opener struct {
	Prefix      netip.Prefix
	Connections uint64
	Limited     bool // it may open none now
	Seen        time.Time
}

// Top returns the n prefixes with the most dropped or answered packets, in descending order. The
// kernel stores 4,096 prefixes and forgets the one that was inactive longest.
func (s *Shield) Top(n int) ([]Noisy, error) {
	now, clock := time.Now(), monotonic()
	var all []Noisy
	err := each(s.maps.Noises, func(at bpfNetwork, row bpfNoise) {
		all = append(all, Noisy{
			Prefix: prefixOf(at), Packets: row.Samples * sample, Bytes: row.Bytes * sample,
			Last: Verdict(row.Verdict), Seen: now.Add(-time.Duration(clock - row.Seen)),
		})
	})
	if err != nil {
		return nil, fmt.Errorf("noisy prefixes: %w", err)
	}
	slices.SortFunc(all, func(a, b Noisy) int { return cmp.Compare(b.Packets, a.Packets) })
	return all[:min(n, len(all))], nil
}

// Openers returns the n prefixes that opened the most connections, in descending order. The kernel
// stores 65,536 prefixes and forgets the one that was inactive longest.
func (s *Shield) Openers(n int) ([]Opener, error) {
	table, err := only[bpfSettings](s.maps.Settings)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	now, clock := time.Now(), monotonic()
	var all []Opener
	err = each(s.maps.Sources, func(at bpfNetwork, row bpfSource) {
		all = append(all, Opener{
			Prefix: prefixOf(at), Connections: row.Connections,
			Limited: table.Interval > 0 && row.Due > clock+table.Burst,
			Seen:    now.Add(-time.Duration(clock - row.Seen)),
		})
	})
	if err != nil {
		return nil, fmt.Errorf("openers: %w", err)
	}
	slices.SortFunc(all, func(a, b Opener) int { return cmp.Compare(b.Connections, a.Connections) })
	return all[:min(n, len(all))], nil
}

// each reads a table while packets change it, a thousand rows at a time.
func each[T any](m *ebpf.Map, see func(bpfNetwork, T)) error {
	const step = 1024
	keys, rows := make([]bpfNetwork, step), make([]T, step)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, rows, nil)
		for i := range n {
			see(keys[i], rows[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func prefixOf(n bpfNetwork) netip.Prefix {
	var b [16]byte
	binary.LittleEndian.PutUint32(b[:], n.Address[0])
	binary.LittleEndian.PutUint32(b[4:], n.Address[1])
	if n.Version == 4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), 24)
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}
