package plumb

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ifaProto is IFA_PROTO of linux/if_addr.h, Linux 5.18.
const ifaProto = 11

// forever is INFINITY_LIFE_TIME of linux/if_addr.h.
const forever = 0xffffffff

// typeMask is NLA_TYPE_MASK of linux/netlink.h: the other bits of a type are flags.
const typeMask = 0x3fff

// dumpAttempts bounds how often a list is requested again because its contents changed meanwhile.
const dumpAttempts = 4

// kernel talks to one network namespace: the one in which it was opened, whatever thread uses it
// later. One goroutine may use it at a time.
type kernel struct {
	sockets map[int]*nl.SocketHandle
}

func openKernel() (*kernel, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	k := &kernel{sockets: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}
	wait := unix.NsecToTimeval(int64(netlinkTimeout))
	// The kernel then filters lists itself: it walks a table of a million routes, but returns only
	// ours.
	err = unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = fmt.Errorf("this kernel is too old; Linux 4.20 or later is required: %w", err)
	}
	if err = errors.Join(err, s.SetReceiveTimeout(&wait), s.SetSendTimeout(&wait)); err != nil {
		k.close()
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return k, nil
}

func (k *kernel) close() { k.sockets[unix.NETLINK_ROUTE].Close() }

func (k *kernel) request(kind, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = k.sockets
	return req
}

// ask sends a request that changes something.
func (k *kernel) ask(kind, flags int, data ...nl.NetlinkRequestData) error {
	req := k.request(kind, flags|unix.NLM_F_ACK)
	for _, d := range data {
		req.AddData(d)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// list requests all entries of a kind, again if they changed meanwhile.
func (k *kernel) list(get, answer int, header nl.NetlinkRequestData) ([][]byte, error) {
	var messages [][]byte
	err := error(netlink.ErrDumpInterrupted)
	for attempt := 0; attempt < dumpAttempts && errors.Is(err, netlink.ErrDumpInterrupted); attempt++ {
		req := k.request(get, unix.NLM_F_DUMP)
		req.AddData(header)
		messages, err = req.Execute(unix.NETLINK_ROUTE, uint16(answer))
	}
	return messages, err
}

// links maps the namespace's devices between name and index.
type links struct {
	index map[string]int
	name  map[int]string
}

// read returns everything there is: devices, addresses, rules, and our own routes.
func (k *kernel) read() (links, []found, error) {
	devices, err := k.links()
	if err != nil {
		return links{}, nil, fmt.Errorf("list devices: %w", err)
	}
	var have []found
	for _, part := range []struct {
		name string
		list func(links) ([]found, error)
	}{{"addresses", k.addresses}, {"routes", k.routes}, {"rules", k.rules}} {
		some, err := part.list(devices)
		if err != nil {
			return links{}, nil, fmt.Errorf("list %s: %w", part.name, err)
		}
		have = append(have, some...)
	}
	return devices, have, nil
}

func (k *kernel) links() (links, error) {
	all := links{index: map[string]int{}, name: map[int]string{}}
	messages, err := k.list(unix.RTM_GETLINK, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC))
	if err != nil {
		return all, err
	}
	for _, m := range messages {
		header := nl.DeserializeIfInfomsg(m)
		attributes, err := attributesOf(m[header.Len():])
		if err != nil {
			return all, err
		}
		name := nl.BytesToString(attributes[unix.IFLA_IFNAME])
		all.index[name], all.name[int(header.Index)] = int(header.Index), name
	}
	return all, nil
}

// attributesOf reads the attributes after a message's header, by number.
func attributesOf(m []byte) (map[uint16][]byte, error) {
	list, err := nl.ParseRouteAttr(m)
	if err != nil {
		return nil, err
	}
	attributes := make(map[uint16][]byte, len(list))
	for _, a := range list {
		attributes[a.Attr.Type&typeMask] = a.Value
	}
	return attributes, nil
}

// number reads an attribute of 32 bits, 0 if it is absent.
func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return nl.NativeEndian().Uint32(b)
}

// prefix combines the address of an attribute with the length of a header.
func prefix(b []byte, bits uint8) netip.Prefix {
	addr, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(addr, int(bits))
}

// all is a family's default prefix, of length 0.
func all(family uint8) netip.Prefix {
	if family == unix.AF_INET {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// familyOf returns the kernel's number of a prefix's address family.
func familyOf(p netip.Prefix) uint8 {
	if p.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// number32 makes an attribute of 32 bits.
func number32(kind int, v uint32) *nl.RtAttr { return nl.NewRtAttr(kind, nl.Uint32Attr(v)) }

// add creates a thing; with replace it takes over the key of an existing one.
func (k *kernel) add(devices links, t Thing, replace bool) error {
	flags := unix.NLM_F_CREATE | unix.NLM_F_EXCL
	if replace {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	switch t := t.(type) {
	case Address:
		return k.ask(unix.RTM_NEWADDR, flags, addressMessage(devices, t)...)
	case Route:
		return k.ask(unix.RTM_NEWROUTE, flags, routeMessage(devices, t)...)
	case Rule:
		return k.ask(unix.RTM_NEWRULE, flags, ruleMessage(t)...)
	}
	return fmt.Errorf("the kernel has no kind %T", t)
}

// remove deletes a thing.
func (k *kernel) remove(devices links, t Thing) error {
	switch t := t.(type) {
	case Address:
		return k.ask(unix.RTM_DELADDR, 0, addressMessage(devices, t)...)
	case Route:
		return k.ask(unix.RTM_DELROUTE, 0, routeMessage(devices, t)...)
	case Rule:
		return k.ask(unix.RTM_DELRULE, 0, ruleMessage(t)...)
	}
	return fmt.Errorf("the kernel has no kind %T", t)
}
