package plumb

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// routes lists our own routes only.
func (k *kernel) routes(devices links) ([]found, error) {
	var have []found
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		filter := &nl.RtMsg{}
		filter.Family, filter.Protocol = family, Protocol
		messages, err := k.list(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, filter)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			header := nl.DeserializeRtMsg(m)
			if header.Family != family || header.Protocol != Protocol || header.Flags&unix.RTM_F_CLONED != 0 {
				continue // a kernel without IPv6 answers for another family
			}
			attributes, err := attributesOf(m[header.Len():])
			if err != nil {
				return nil, err
			}
			have = append(have, found{Thing: routeOf(header, attributes, devices), ours: true})
		}
	}
	return have, nil
}

func routeOf(header *nl.RtMsg, attributes map[uint16][]byte, devices links) Route {
	r := Route{
		Prefix: all(header.Family), Unreachable: header.Type == unix.RTN_UNREACHABLE,
		Table: uint32(header.Table), Metric: number(attributes[unix.RTA_PRIORITY]),
	}
	if to, ok := attributes[unix.RTA_DST]; ok {
		r.Prefix = prefix(to, header.Dst_len)
	}
	if table, ok := attributes[unix.RTA_TABLE]; ok {
		r.Table = number(table)
	}
	if !r.Unreachable { // an unreachable IPv6 route is on lo
		r.Dev = devices.name[int(number(attributes[unix.RTA_OIF]))]
		r.Via, _ = netip.AddrFromSlice(attributes[unix.RTA_GATEWAY])
	}
	return r
}

func routeMessage(devices links, r Route) []nl.NetlinkRequestData {
	header := nl.NewRtMsg()
	header.Family, header.Dst_len, header.Protocol = familyOf(r.Prefix), uint8(r.Prefix.Bits()), Protocol
	header.Table = unix.RT_TABLE_UNSPEC
	data := []nl.NetlinkRequestData{header, number32(unix.RTA_TABLE, r.Table)}
	if r.Prefix.Bits() > 0 {
		data = append(data, nl.NewRtAttr(unix.RTA_DST, r.Prefix.Addr().AsSlice()))
	}
	if r.Metric > 0 {
		data = append(data, number32(unix.RTA_PRIORITY, r.Metric))
	}
	switch {
	case r.Unreachable:
		header.Type = unix.RTN_UNREACHABLE
		return data
	case r.Dev == "": // a multipath route that somebody made of ours; only ever deleted
		header.Scope = unix.RT_SCOPE_NOWHERE
		return data
	case r.Via.IsValid():
		header.Flags |= unix.RTNH_F_ONLINK
		data = append(data, nl.NewRtAttr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	case r.Prefix.Addr().Is4():
		header.Scope = unix.RT_SCOPE_LINK
	}
	return append(data, number32(unix.RTA_OIF, uint32(devices.index[r.Dev])))
}

// rules lists the rules of every owner: there are few.
func (k *kernel) rules(links) ([]found, error) {
	var have []found
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		some, err := k.rulesOf(family)
		if err != nil {
			return nil, err
		}
		have = append(have, some...)
	}
	return have, nil
}

// rulesOf lists the rules of a family. A family that the kernel lacks has none.
func (k *kernel) rulesOf(family uint8) ([]found, error) {
	filter := &nl.RtMsg{}
	filter.Family = family
	messages, err := k.list(unix.RTM_GETRULE, unix.RTM_NEWRULE, filter)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // as with ipv6.disable=1
	}
	if err != nil {
		return nil, err
	}
	var have []found
	for _, m := range messages {
		header := nl.DeserializeRtMsg(m)
		attributes, err := attributesOf(m[header.Len():])
		if err != nil {
			return nil, err
		}
		if rule, ours, ok := ruleOf(header, attributes); ok && header.Family == family {
			have = append(have, found{Thing: rule, ours: ours})
		}
	}
	return have, nil
}

// plain are the attributes of a rule that matches a prefix and nothing else.
var plain = []uint16{
	nl.FRA_SRC, nl.FRA_DST, nl.FRA_PRIORITY, nl.FRA_TABLE, nl.FRA_PROTOCOL, nl.FRA_PAD, nl.FRA_SUPPRESS_PREFIXLEN,
}

// nothingSuppressed is -1, the kernel's value for a rule that suppresses no route.
const nothingSuppressed = 0xffffffff

// ruleOf reads a rule. It reports false for a foreign rule that matches on more than a prefix, by
// any attribute.
func ruleOf(header *nl.RtMsg, attributes map[uint16][]byte) (r Rule, ours, known bool) {
	proto := attributes[nl.FRA_PROTOCOL]
	ours = len(proto) == 1 && proto[0] == Protocol
	r = Rule{Priority: number(attributes[nl.FRA_PRIORITY]), Table: number(attributes[nl.FRA_TABLE])}
	if from, ok := attributes[nl.FRA_SRC]; ok {
		r.From = prefix(from, header.Src_len)
	}
	if to, ok := attributes[nl.FRA_DST]; ok {
		r.To = prefix(to, header.Dst_len)
	}
	if ours {
		return r, true, r.selector().IsValid()
	}
	for attribute := range attributes {
		if !slices.Contains(plain, attribute) {
			return r, false, false
		}
	}
	if least, there := attributes[nl.FRA_SUPPRESS_PREFIXLEN]; there && number(least) != nothingSuppressed {
		return r, false, false
	}
	return r, false, r.selector().IsValid() && header.Type == unix.RTN_UNICAST && header.Flags == 0 && header.Tos == 0
}

func ruleMessage(r Rule) []nl.NetlinkRequestData {
	header := nl.NewRtMsg()
	header.Family, header.Table, header.Protocol = familyOf(r.selector()), unix.RT_TABLE_UNSPEC, 0
	data := []nl.NetlinkRequestData{
		header,
		number32(nl.FRA_PRIORITY, r.Priority),
		number32(nl.FRA_TABLE, r.Table),
		nl.NewRtAttr(nl.FRA_PROTOCOL, nl.Uint8Attr(Protocol)),
	}
	if r.From.IsValid() {
		header.Src_len = uint8(r.From.Bits())
		data = append(data, nl.NewRtAttr(nl.FRA_SRC, r.From.Addr().AsSlice()))
	}
	if r.To.IsValid() {
		header.Dst_len = uint8(r.To.Bits())
		data = append(data, nl.NewRtAttr(nl.FRA_DST, r.To.Addr().AsSlice()))
	}
	return data
}
