package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// checker validates a config: each key by itself, then keys against each other. It changes nothing.
// A check that depends on an invalid key stays silent.
type checker struct {
	*Config
	report func(key, format string, args ...any)
	faulty map[string]bool // the keys that have a problem already
}

// file describes the whole file, for keys.
var file = Describe()

func (v *checker) all() {
	v.keys(&file, reflect.ValueOf(v.Config).Elem(), "")
	v.sockets()
	v.listeners()
	v.proxies()
	v.tls()
	v.domains()
	v.cores()
	v.mailstore()
	v.spool()
	v.queue()
	v.tunnel()
	v.anycast()
	v.bgp()
	v.egress()
	v.shield()
}

// sound reports whether none of the keys has a problem, so that a check may depend on them.
func (v *checker) sound(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool { return v.faulty[key] })
}

// fault reports err at key, if there is one.
func (v *checker) fault(key string, err error) {
	if err != nil {
		v.report(key, "%s", err)
	}
}

func (v *checker) mailstore() {
	if m := v.Mailstore; m != nil && len(m.Listen)+len(m.LMTPListen) == 0 {
		v.report("mailstore.listen", `missing: needs at least one address, such as "10.77.0.1:2525"`)
	}
}

// proxies refuses to believe the client address that anybody sends.
func (v *checker) proxies() {
	for i, from := range v.Ingress.ProxyProtocolFrom {
		if from.IsValid() && from.Bits() == 0 {
			v.report(index("ingress.proxy_protocol_from", i), "%s is everyone: any sender could choose its own address", from)
		}
	}
}

func (v *checker) tls() {
	in := &v.Ingress
	switch {
	case in.TLSCert != "" && in.TLSKey == "":
		v.report("ingress.tls_key", "missing: tls_cert is set, and a certificate needs its key")
	case in.TLSCert == "" && in.TLSKey != "":
		v.report("ingress.tls_cert", "missing: tls_key is set, and a key needs its certificate")
	case in.TLSCert == "" && in.StartTLSRequired && v.sound("ingress.tls_cert"):
		v.report("ingress.starttls_required", "needs tls_cert and tls_key: without them no mail at all is accepted")
	}
}

func (v *checker) domains() {
	first := map[string]int{}
	for i := range v.Domains {
		d, at := &v.Domains[i], index("domain", i)
		if earlier, twice := first[d.Name]; twice && d.Name != "" {
			v.report(at+".name", "%s appears twice, first as %s", quote(d.Name), index("domain", earlier))
		} else {
			first[d.Name] = i
		}
		if _, known := v.Cores[d.Core]; !known && d.Core != "" {
			v.noGroup(at+".core", d.Core)
		}
	}
}

// coreAddresses checks the addresses of [core] or of one group, whose section is at path.
func (v *checker) coreAddresses(path string, addresses []string) {
	first := map[string]int{}
	for i, text := range addresses {
		key := index(path+".addresses", i)
		addr, err := parseEndpoint(text)
		if err != nil {
			continue
		}
		name := strings.ToLower(text)
		if addr.IsValid() {
			name = addr.String()
		}
		if earlier, twice := first[name]; twice {
			v.report(key, "%s appears twice, first as %s", quote(text), index(path+".addresses", earlier))
			continue
		}
		first[name] = i
		v.reachable(key, text, addr)
	}
}

// reachable reports an address of core that is this node itself, or that the tunnel does not lead
// to: mail to core never takes another way.
func (v *checker) reachable(key, text string, addr netip.AddrPort) {
	for i, listen := range v.Ingress.Listen {
		own, err := parseListen(listen)
		if err == nil && overlap(own, addr) && (own.Addr() == addr.Addr() || addr.Addr().IsLoopback()) {
			v.report(key, "%s is this node's own %s: mail would loop", quote(text), index("ingress.listen", i))
			return
		}
	}
	if v.Tunnel == nil {
		return
	}
	if !addr.IsValid() {
		v.report(key, "%s must be an IP address, not a name: with a [tunnel], a name could resolve to an address outside of it", quote(text))
		return
	}
	if len(v.Tunnel.Peers) == 0 {
		return // which is reported, here as below
	}
	for _, peer := range v.Tunnel.Peers {
		if len(peer.AllowedIPs) == 0 {
			return
		}
		for _, network := range peer.AllowedIPs {
			if !network.IsValid() || network.Contains(addr.Addr()) {
				return
			}
		}
	}
	v.report(key, "%s is in no allowed_ips of a [[tunnel.peer]]: the tunnel does not lead there", quote(text))
}

func (v *checker) spool() {
	s := &v.Spool
	largest := v.Ingress.MaxMessageSize
	if !v.sound("ingress.max_message_size") {
		return
	}
	if s.DiskReserve > 0 && s.DiskReserve < largest {
		v.report("spool.disk_reserve", "%s is less than ingress.max_message_size, %s: a message in transfer would not fit", s.DiskReserve, largest)
	}
	if s.HighWater > 0 && s.HighWater < largest {
		v.report("spool.high_water", "%s is less than ingress.max_message_size, %s: the largest message would never fit", s.HighWater, largest)
	}
	for _, limit := range []struct {
		key  string
		size Size
	}{{"spool.in_flight", s.InFlight}, {"spool.network_in_flight", s.NetworkInFlight}} {
		if limit.size > 0 && limit.size < largest {
			v.report(limit.key, "%s is less than ingress.max_message_size, %s: the largest message would be cut", limit.size, largest)
		}
	}
}

func (v *checker) queue() {
	q := &v.Queue
	if !v.sound("queue.expire") {
		return
	}
	for i, wait := range q.Retry {
		if wait > q.Expire {
			v.report(index("queue.retry", i), "%s is longer than queue.expire, %s: the message would be given up first", wait, q.Expire)
		}
	}
	if q.DelayNotice > 0 && q.DelayNotice >= q.Expire {
		v.report("queue.delay_notice", "%s is not before queue.expire, %s: it would never be sent; write 0 for never", q.DelayNotice, q.Expire)
	}
}
