package config

import (
	"net/netip"
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
	v.shieldInterfaces()
	v.shieldServices()
	if s.AllowFile != "" && s.AllowFile == s.BlockFile {
		v.report("shield.allow_file", "is also shield.block_file: a prefix is blocked or allowed, not both")
	}
}

// shieldInterfaces checks the devices, each of which has to bring in Ethernet frames from the world.
func (v *checker) shieldInterfaces() {
	s := v.Shield
	first := map[string]int{}
	for i, name := range s.Interfaces {
		key := index("shield.interfaces", i)
		if checkInterface(name) != nil {
			continue
		}
		if earlier, twice := first[name]; twice {
			v.report(key, "%s appears twice, first as %s", quote(name), index("shield.interfaces", earlier))
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
