package config

import (
	"net/netip"
	"time"
)

// What the filter has room for, and what it can count.
const (
	shieldPorts     = 8   // of one service address
	shieldAddresses = 256 // of one IP version
	shieldRate      = 1_000_000_000
)

func (v *checker) shield() {
	s := v.Shield
	if s == nil {
		return
	}
	v.oneOf("shield.mode", s.Mode, "auto", "native", "generic", "off")
	v.oneOf("shield.cookies", s.Cookies, "adaptive", "always", "never")
	v.oneOf("shield.fragments", s.Fragments, "drop", "pass")
	v.oneOf("shield.unparsable", s.Unparsable, "drop", "pass")
	v.oneOf("shield.unserved", s.Unserved, "drop", "pass")
	v.shieldInterfaces()
	v.shieldServices()
	v.optional("shield.key_file", s.KeyFile, checkSecret)
	v.optional("shield.block_file", s.BlockFile, checkPath)
	v.optional("shield.allow_file", s.AllowFile, checkPath)
	if s.AllowFile != "" && s.AllowFile == s.BlockFile {
		v.report("shield.allow_file", "is shield.block_file as well: a prefix is blocked or allowed, not both")
	}
	v.named("shield.pins", s.Pins, "the filter needs a directory on a BPF file system to outlive anymx-net in", checkPath)
	for _, l := range []limit[Duration]{
		{"shield.epoch", s.Epoch, Duration(4 * time.Second), Duration(time.Hour)},
		{"shield.hold", s.Hold, Duration(time.Second), Duration(time.Hour)},
	} {
		l.check(v)
	}
	for _, l := range []limit[int]{
		{"shield.syn_rate", s.SYNRate, 1, shieldRate},
		{"shield.stray_rate", s.StrayRate, 1, shieldRate},
		{"shield.connection_rate", s.ConnectionRate, 0, shieldRate},
		{"shield.connection_burst", s.ConnectionBurst, 0, shieldRate},
		{"shield.mtu", s.MTU, minMTU, 65535},
	} {
		l.check(v)
	}
}

// shieldInterfaces checks the devices, each of which has to bring in Ethernet frames from the world.
func (v *checker) shieldInterfaces() {
	s := v.Shield
	if len(s.Interfaces) == 0 && s.Mode != "off" {
		v.report("shield.interfaces", `missing: say where packets come in, such as ["eth0"], or set mode = "off"`)
	}
	first := map[string]int{}
	for i, name := range s.Interfaces {
		key := index("shield.interfaces", i)
		if err := checkInterface(name); err != nil {
			v.report(key, "%s", err)
			continue
		}
		if earlier, twice := first[name]; twice {
			v.report(key, "%s stands twice, first as %s", quote(name), index("shield.interfaces", earlier))
			continue
		}
		first[name] = i
		if v.Tunnel != nil && name == v.Tunnel.Interface {
			v.report(key, "%s is the tunnel, which leads to core and not to senders", quote(name))
		}
	}
}

// shieldServices checks that there is something to protect, and that the filter has room for it.
func (v *checker) shieldServices() {
	if len(v.Anycast.Addresses) == 0 && v.Shield.Mode != "off" {
		v.report("anycast.addresses", `missing: there is a [shield] section, and no service address to protect; or set its mode = "off"`)
	}
	ports, versions := map[netip.Addr]int{}, map[bool]int{}
	for _, point := range v.ServicePoints() {
		ports[point.Addr()]++
	}
	for i, p := range v.Anycast.Addresses {
		key := index("anycast.addresses", i)
		if p.IsSingleIP() && ports[p.Addr()] > shieldPorts {
			v.report(key, "%s has %d ports in ingress.listen; the shield has room for %d of an address", p.Addr(), ports[p.Addr()], shieldPorts)
		}
		if versions[p.Addr().Is4()]++; versions[p.Addr().Is4()] == shieldAddresses+1 {
			v.report(key, "the shield has room for %d %s addresses", shieldAddresses, protocol(p.Addr()))
		}
	}
}
