package network

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"anymx/xdp"
)

// prefixes is the content of a file.
type prefixes map[netip.Prefix]struct{}

// parsePrefixes reads a list: a prefix or an address in each line, and comments after #. Bits
// beyond a prefix's length count as 0. Its errors name file and line; beyond a few they are only
// counted. Pure.
func parsePrefixes(file string, text []byte) (prefixes, error) {
	list := prefixes{}
	var faults []error
	bad, n := 0, 0
	counts := [2]int{}
	for line := range bytes.Lines(text) {
		n++
		word, _, _ := bytes.Cut(line, []byte("#"))
		word = bytes.TrimSpace(word)
		if len(word) == 0 {
			continue
		}
		p, err := parsePrefix(string(word))
		if err == nil {
			if _, twice := list[p]; !twice {
				counts[version(p)]++
			}
			list[p] = struct{}{}
			if counts[version(p)] != xdp.MaxListed+1 {
				continue
			}
			err = fmt.Errorf("more than %d prefixes of one IP version", xdp.MaxListed)
		}
		if bad++; bad <= maxShown {
			faults = append(faults, fmt.Errorf("%s:%d: %w", file, n, err))
		}
	}
	if bad > maxShown {
		faults = append(faults, fmt.Errorf("and %d more lines", bad-maxShown))
	}
	if bad > 0 {
		return nil, oneLine(faults)
	}
	return list, nil
}

// parsePrefix reads a prefix, or an address as a single-address prefix.
func parsePrefix(word string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(word)
	if err != nil && !strings.Contains(word, "/") {
		var a netip.Addr
		if a, err = netip.ParseAddr(word); err == nil && a.Zone() == "" {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if err != nil || !p.IsValid() || p.Addr().Is4In6() {
		const most = 64 // bytes of the line that an error shows
		return netip.Prefix{}, fmt.Errorf("%q is neither a prefix nor an address", word[:min(most, len(word))])
	}
	return p.Masked(), nil
}

// version returns 0 for an IPv4 prefix and 1 for an IPv6 one.
func version(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

// oneLine joins errors into a single-line one, nil if there are none.
func oneLine(faults []error) error {
	var texts []string
	for _, err := range faults {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}
