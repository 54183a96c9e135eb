package bgp

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Community is a BGP community (RFC 1997): an autonomous system's number in
// the high 16 bits, a value of its own choice in the low ones.
type Community uint32

// GracefulShutdown asks routers to prefer any other path (RFC 8326): on a
// route that is about to go it moves traffic away while packets still arrive.
const GracefulShutdown Community = 65535 << 16

// ParseCommunity reads the usual form, such as "64500:100": two decimal
// numbers of 16 bits, without leading zeros.
func ParseCommunity(text string) (Community, error) {
	n, ok := numbers(text, 2, 16)
	if !ok {
		return 0, fmt.Errorf("%q is not a community such as 64500:100", text)
	}
	return Community(n[0]<<16 | n[1]), nil
}

func (c Community) String() string {
	return fmt.Sprintf("%d:%d", uint32(c)>>16, uint32(c)&0xffff)
}

// MarshalText is the form that ParseCommunity reads.
func (c Community) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LargeCommunity is a BGP large community (RFC 8092), for autonomous systems
// whose number needs more than 16 bits.
type LargeCommunity struct {
	Global, Local1, Local2 uint32
}

// ParseLargeCommunity reads the canonical form (RFC 8092 5), such as
// "64500:1:2": three decimal numbers of 32 bits, without leading zeros.
func ParseLargeCommunity(text string) (LargeCommunity, error) {
	n, ok := numbers(text, 3, 32)
	if !ok {
		return LargeCommunity{}, fmt.Errorf("%q is not a large community such as 64500:1:2", text)
	}
	return LargeCommunity{n[0], n[1], n[2]}, nil
}

func (c LargeCommunity) String() string {
	return fmt.Sprintf("%d:%d:%d", c.Global, c.Local1, c.Local2)
}

// MarshalText is the form that ParseLargeCommunity reads.
func (c LargeCommunity) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c LargeCommunity) compare(other LargeCommunity) int {
	return cmp.Or(cmp.Compare(c.Global, other.Global), cmp.Compare(c.Local1, other.Local1), cmp.Compare(c.Local2, other.Local2))
}

// ParseCommunities sorts a mixed list into communities and large communities,
// which the number of colons tells apart.
func ParseCommunities(texts []string) ([]Community, []LargeCommunity, error) {
	var (
		communities []Community
		large       []LargeCommunity
	)
	for _, text := range texts {
		if strings.Count(text, ":") == 2 {
			c, err := ParseLargeCommunity(text)
			if err != nil {
				return nil, nil, err
			}
			large = append(large, c)
			continue
		}
		c, err := ParseCommunity(text)
		if err != nil {
			return nil, nil, err
		}
		communities = append(communities, c)
	}
	return communities, large, nil
}

// numbers reads count decimal numbers with colons between them, none of more
// than so many bits.
func numbers(text string, count, bits int) ([]uint32, bool) {
	parts := strings.Split(text, ":")
	if len(parts) != count {
		return nil, false
	}
	n := make([]uint32, count)
	for i, part := range parts {
		value, err := strconv.ParseUint(part, 10, bits)
		if err != nil || len(part) > 1 && part[0] == '0' {
			return nil, false
		}
		n[i] = uint32(value)
	}
	return n, true
}

// union is what stands in either list, sorted and without repetitions: the
// order of communities means nothing (RFC 1997), and lists in one order can be
// compared.
func union(a, b []Community) []Community {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func unionLarge(a, b []LargeCommunity) []LargeCommunity {
	all := slices.Concat(a, b)
	slices.SortFunc(all, LargeCommunity.compare)
	return slices.Compact(all)
}
