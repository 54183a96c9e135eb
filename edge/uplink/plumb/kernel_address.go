package plumb

import (
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func (k *kernel) addresses(devices links) ([]found, error) {
	messages, err := k.list(unix.RTM_GETADDR, unix.RTM_NEWADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, err
	}
	var have []found
	for _, m := range messages {
		header := nl.DeserializeIfAddrmsg(m)
		attributes, err := attributesOf(m[header.Len():])
		if err != nil {
			return nil, err
		}
		local := attributes[unix.IFA_LOCAL]
		if local == nil { // IPv6 sets it only on point-to-point addresses
			local = attributes[unix.IFA_ADDRESS]
		}
		flags := number(attributes[unix.IFA_FLAGS])
		a := Address{
			Prefix: prefix(local, header.Prefixlen), Dev: devices.name[int(header.Index)],
			NoPrefixRoute: flags&unix.IFA_F_NOPREFIXROUTE != 0,
		}
		if header.Family == unix.AF_INET {
			a.Host = header.Scope == unix.RT_SCOPE_HOST
		} else {
			a.NoDAD = flags&unix.IFA_F_NODAD != 0
			a.Deprecated = preferred(attributes[unix.IFA_CACHEINFO]) == 0
		}
		proto := attributes[ifaProto]
		have = append(have, found{Thing: a, ours: len(proto) == 1 && proto[0] == Protocol,
			duplicate: flags&unix.IFA_F_DADFAILED != 0, tentative: flags&unix.IFA_F_TENTATIVE != 0})
	}
	return have, nil
}

// preferred returns the preferred lifetime in seconds.
func preferred(cacheinfo []byte) uint32 {
	if len(cacheinfo) < unix.SizeofIfaCacheinfo {
		return forever
	}
	return nl.DeserializeIfaCacheInfo(cacheinfo).Prefered
}

func addressMessage(devices links, a Address) []nl.NetlinkRequestData {
	header := nl.NewIfAddrmsg(int(familyOf(a.Prefix)))
	header.Index, header.Prefixlen = uint32(devices.index[a.Dev]), uint8(a.Prefix.Bits())
	if a.Host {
		header.Scope = unix.RT_SCOPE_HOST
	}
	flags := uint32(unix.IFA_F_PERMANENT)
	if a.NoDAD {
		flags |= unix.IFA_F_NODAD
	}
	if a.NoPrefixRoute {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	lifetime := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: forever, Prefered: forever}}
	if a.Deprecated {
		lifetime.Prefered = 0
	}
	raw := a.Prefix.Addr().AsSlice()
	data := []nl.NetlinkRequestData{
		header,
		nl.NewRtAttr(unix.IFA_LOCAL, raw),
		nl.NewRtAttr(unix.IFA_ADDRESS, raw),
		number32(unix.IFA_FLAGS, flags),
		nl.NewRtAttr(unix.IFA_CACHEINFO, lifetime.Serialize()),
		nl.NewRtAttr(ifaProto, nl.Uint8Attr(Protocol)),
	}
	if a.Prefix.Addr().Is4() && a.Prefix.Bits() < 31 && !a.NoPrefixRoute { // RFC 3021: a /31 has no broadcast address
		data = append(data, nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(a.Prefix)))
	}
	return data
}

// broadcast returns the last address of an IPv4 network.
func broadcast(p netip.Prefix) []byte {
	raw := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	return raw[:]
}
