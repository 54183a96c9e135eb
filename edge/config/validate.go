package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// checker validates a config: each key by itself, then keys against each other. It changes nothing.
// Where a check rests on another key which is at fault itself, it holds its tongue.
type checker struct {
	*Config
	report func(key, format string, args ...any)
	faulty map[string]bool // the keys that have a problem already
}

func (v *checker) all() {
	v.node()
	v.ingress()
	v.domains()
	v.core()
	v.mailstore()
	v.spool()
	v.queue()
	v.log()
	v.console()
	v.tunnel()
	v.anycast()
	v.bgp()
	v.drain()
	v.net()
	v.egress()
	v.shield()
}

// fault reports err at key, if there is one.
func (v *checker) fault(key string, err error) {
	if err != nil {
		v.report(key, "%s", err)
	}
}

// named reports a name that is missing or that check refuses.
func (v *checker) named(key, value, missing string, check func(string) error) {
	if value == "" {
		v.report(key, "missing: %s", missing)
		return
	}
	v.fault(key, check(value))
}

// optional reports a name that is there and that check refuses.
func (v *checker) optional(key, value string, check func(string) error) {
	if value != "" {
		v.fault(key, check(value))
	}
}

// quoted puts the value in front of what check says of it.
func quoted(check func(string) error) func(string) error {
	return func(s string) error {
		if err := check(s); err != nil {
			return fmt.Errorf("%s %w", quote(s), err)
		}
		return nil
	}
}

// oneOf reports a word that is not one of those allowed.
func (v *checker) oneOf(key, value string, words ...string) {
	if !slices.Contains(words, value) {
		v.report(key, "%s is unknown; write one of %s", quote(value), `"`+strings.Join(words, `", "`)+`"`)
	}
}

// limit is a number and its bounds, both allowed.
type limit[T ~int | ~int64] struct {
	key             string
	value, min, max T
}

func (l limit[T]) check(v *checker) {
	switch {
	case l.value >= l.min && l.value <= l.max:
	case l.value < 0:
		v.report(l.key, "must not be negative")
	case l.value < l.min && l.min == 1:
		v.report(l.key, "must be greater than 0")
	case l.value < l.min:
		v.report(l.key, "must be at least %v, not %v", l.min, l.value)
	default:
		v.report(l.key, "must be at most %v, not %v", l.max, l.value)
	}
}

const (
	unlimited = math.MaxInt32
	month     = 30 * Day
)

func (v *checker) node() {
	v.named("node.name", v.Node.Name, `give this node a name of its own, such as "ams1"`, checkWord)
	v.optional("node.region", v.Node.Region, checkWord)
	v.named("node.hostname", v.Node.Hostname, `name the host as senders know it, such as "mx.example.net"`, quoted(checkHostname))
	limit[Duration]{"node.shutdown_grace", v.Node.ShutdownGrace, 0, Duration(time.Hour)}.check(v)
	v.named("node.state_dir", v.Node.StateDir, "the spool needs a directory", checkPath)
	v.sockets()
}

func (v *checker) mailstore() {
	m := v.Mailstore
	if m == nil {
		return
	}
	if len(m.Listen)+len(m.LMTPListen) == 0 {
		v.report("mailstore.listen", `missing: needs at least one address, such as "10.77.0.1:2525"`)
	}
	for key, list := range map[string][]string{"mailstore.listen": m.Listen, "mailstore.lmtp_listen": m.LMTPListen} {
		for i, text := range list {
			if _, err := parseListen(text); err != nil {
				v.report(index(key, i), "%s", err)
			}
		}
	}
	v.named("mailstore.directory", m.Directory, "the Maildirs need a directory", checkPath)
	limit[Size]{"mailstore.max_message_size", m.MaxMessageSize, 1, TiB}.check(v)
	limit[Size]{"mailstore.disk_reserve", m.DiskReserve, 1, 1024 * TiB}.check(v)
	limit[int]{"mailstore.max_recipients", m.MaxRecipients, 1, unlimited}.check(v)
	limit[int]{"mailstore.max_connections", m.MaxConnections, 1, unlimited}.check(v)
	limit[Duration]{"mailstore.remember", m.Remember, Day, 3650 * Day}.check(v)
}

func (v *checker) ingress() {
	in := &v.Ingress
	v.listeners()
	for _, l := range []limit[int]{
		{"ingress.max_connections", in.MaxConnections, 1, unlimited},
		{"ingress.max_connections_per_prefix", in.MaxConnectionsPerPrefix, 1, unlimited},
		{"ingress.max_recipients", in.MaxRecipients, 1, unlimited},
		{"ingress.max_errors", in.MaxErrors, 1, unlimited},
		{"ingress.max_refused_recipients", in.MaxRefusedRecipients, 1, unlimited},
		{"ingress.max_commands", in.MaxCommands, 1, unlimited},
		{"ingress.max_messages_per_connection", in.MaxMessagesPerConnection, 1, unlimited},
		{"ingress.max_received", in.MaxReceived, 1, unlimited},
		{"ingress.max_line", in.MaxLine, 512, 65536},             // RFC 5321 4.5.3.1.4
		{"ingress.max_text_line", in.MaxTextLine, 1000, 1 << 20}, // RFC 5321 4.5.3.1.6
	} {
		l.check(v)
	}
	for _, l := range []limit[Size]{
		{"ingress.max_message_size", in.MaxMessageSize, 1, TiB},
		{"ingress.min_rate", in.MinRate, 0, TiB},
	} {
		l.check(v)
	}
	for _, l := range []limit[Duration]{
		{"ingress.command_timeout", in.CommandTimeout, 1, Day},
		{"ingress.data_timeout", in.DataTimeout, 1, Day},
		{"ingress.write_timeout", in.WriteTimeout, 1, Day},
		{"ingress.handshake_timeout", in.HandshakeTimeout, 1, Day},
		{"ingress.proxy_timeout", in.ProxyTimeout, 1, Day},
		{"ingress.session_timeout", in.SessionTimeout, 1, month},
		{"ingress.refused_delay", in.RefusedDelay, 0, Duration(30 * time.Second)},
		{"ingress.banner_delay", in.BannerDelay, 0, Duration(5 * time.Minute)}, // RFC 5321 4.5.3.2.1
		{"ingress.min_rate_grace", in.MinRateGrace, 0, Day},
	} {
		l.check(v)
	}
	for i, from := range in.ProxyProtocolFrom {
		key := index("ingress.proxy_protocol_from", i)
		v.network(key, from)
		if from.IsValid() && from.Bits() == 0 {
			v.report(key, "%s is everyone: any sender could choose its own address", from)
		}
	}
	v.oneOf("ingress.sender_routing", in.SenderRouting, SenderRoutingRefuse, SenderRoutingAllow)
	v.tls()
}

func (v *checker) tls() {
	in := &v.Ingress
	v.optional("ingress.tls_cert", in.TLSCert, checkPath)
	v.optional("ingress.tls_key", in.TLSKey, checkPath)
	v.oneOf("ingress.tls_min_version", in.TLSMinVersion, "1.2", "1.3")
	switch {
	case in.TLSCert != "" && in.TLSKey == "":
		v.report("ingress.tls_key", "missing: tls_cert is set, and a certificate is of no use without its key")
	case in.TLSCert == "" && in.TLSKey != "":
		v.report("ingress.tls_cert", "missing: tls_key is set, and a key is of no use without its certificate")
	case in.TLSCert == "" && in.StartTLSRequired:
		v.report("ingress.starttls_required", "needs tls_cert and tls_key: without them no mail at all is accepted")
	}
}

func (v *checker) domains() {
	first := map[string]int{}
	for i := range v.Domains {
		d, at := &v.Domains[i], index("domain", i)
		v.named(at+".name", d.Name, `name the domain, such as "example.net" or "*.example.net"`, quoted(checkDomain))
		if earlier, twice := first[d.Name]; twice && d.Name != "" {
			v.report(at+".name", "%s stands twice, first as %s", quote(d.Name), index("domain", earlier))
		} else {
			first[d.Name] = i
		}
		if file, ok := strings.CutPrefix(d.Recipients, RecipientsFile); ok {
			if err := checkPath(file); err != nil {
				v.report(at+".recipients", "the path after %q %s", RecipientsFile, err)
			}
		} else if d.Recipients != RecipientsAny {
			v.report(at+".recipients", `%s is unknown; write "any" or "file:/path/of/a/list"`, quote(d.Recipients))
		}
	}
}

func (v *checker) core() {
	c := &v.Core
	v.oneOf("core.protocol", c.Protocol, "smtp", "lmtp")
	v.oneOf("core.starttls", c.StartTLS, "auto", "require", "never")
	v.oneOf("core.xclient", c.XClient, "auto", "never")
	v.coreAddresses()
	for _, l := range []limit[int]{
		{"core.max_connections", c.MaxConnections, 1, 65535},
		{"core.messages_per_connection", c.MessagesPerConnection, 1, unlimited},
	} {
		l.check(v)
	}
	for _, l := range []limit[Duration]{
		{"core.connect_timeout", c.ConnectTimeout, 1, Day},
		{"core.command_timeout", c.CommandTimeout, 1, Day},
		{"core.data_timeout", c.DataTimeout, 1, Day},
		{"core.idle_timeout", c.IdleTimeout, 0, Day},
		{"core.backoff_max", c.BackoffMax, 1, Day},
		{"core.ehlo_interval", c.EHLOInterval, Duration(time.Second), Day},
	} {
		l.check(v)
	}
}

func (v *checker) coreAddresses() {
	if len(v.Core.Addresses) == 0 {
		v.report("core.addresses", `missing: say where mail is handed over to, such as ["10.77.0.1:2525"]`)
	}
	first := map[string]int{}
	for i, text := range v.Core.Addresses {
		key := index("core.addresses", i)
		addr, err := parseEndpoint(text)
		if err != nil {
			v.report(key, "%s", err)
			continue
		}
		name := strings.ToLower(text)
		if addr.IsValid() {
			name = addr.String()
		}
		if earlier, twice := first[name]; twice {
			v.report(key, "%s stands twice, first as %s", quote(text), index("core.addresses", earlier))
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
			v.report(key, "%s is this node's own %s: mail would go round in circles", quote(text), index("ingress.listen", i))
			return
		}
	}
	if v.Tunnel == nil {
		return
	}
	if !addr.IsValid() {
		v.report(key, "%s must be an IP address, not a name: with a [tunnel], a name that is looked up could lead past it", quote(text))
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
	for _, l := range []limit[Size]{
		{"spool.high_water", s.HighWater, 0, math.MaxInt64},
		{"spool.disk_reserve", s.DiskReserve, 1, 1024 * TiB},
		{"spool.memory", s.Memory, 0, 1024 * GiB},
		{"spool.inline_max", s.InlineMax, 0, 4 * MiB},
		{"spool.orphans_max", s.OrphansMax, 1, 1024 * TiB},
	} {
		l.check(v)
	}
	limit[Duration]{"spool.orphans_keep", s.OrphansKeep, Duration(time.Hour), Duration(365 * 24 * time.Hour)}.check(v)
	limit[int]{"spool.max_messages", s.MaxMessages, 1, unlimited}.check(v)
	largest := v.Ingress.MaxMessageSize
	if s.DiskReserve > 0 && s.DiskReserve < largest {
		v.report("spool.disk_reserve", "%s is less than ingress.max_message_size, %s: a message in transfer would not fit", s.DiskReserve, largest)
	}
	if s.HighWater > 0 && s.HighWater < largest {
		v.report("spool.high_water", "%s is less than ingress.max_message_size, %s: the largest message would never fit", s.HighWater, largest)
	}
}

func (v *checker) queue() {
	q := &v.Queue
	for _, l := range []limit[Duration]{
		{"queue.expire", q.Expire, 1, 365 * Day},
		{"queue.delay_notice", q.DelayNotice, 0, 365 * Day},
	} {
		l.check(v)
	}
	limit[Size]{"queue.return_full", q.ReturnFull, 0, MiB}.check(v)
	if len(q.Retry) == 0 {
		v.report("queue.retry", `missing: needs at least one wait, such as ["5m"]; the last one repeats`)
	}
	for i, wait := range q.Retry {
		key := index("queue.retry", i)
		switch {
		case wait < 0:
			v.report(key, "must not be negative")
		case wait == 0:
			v.report(key, "must not be 0: a message that fails would be tried without a pause")
		case wait > q.Expire && q.Expire > 0:
			v.report(key, "%s is longer than queue.expire, %s: the message would be given up before", wait, q.Expire)
		}
	}
	if !(q.Jitter >= 0 && q.Jitter <= 0.5) { // NaN is neither
		v.report("queue.jitter", "must be from 0 to 0.5, not %v", q.Jitter)
	}
	if q.DelayNotice > 0 && q.Expire > 0 && q.DelayNotice >= q.Expire {
		v.report("queue.delay_notice", "%s is not before queue.expire, %s: it would never be sent; write 0 for never", q.DelayNotice, q.Expire)
	}
}

func (v *checker) log() {
	v.oneOf("log.level", v.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", v.Log.Format, "logfmt", "json")
}

func (v *checker) console() {
	c := &v.Console
	v.oneOf("console.mode", c.Mode, ConsoleOperate, ConsoleView, ConsoleOff)
	if c.IdleTimeout != 0 {
		limit[Duration]{"console.idle_timeout", c.IdleTimeout, Duration(10 * time.Second), Day}.check(v)
	}
}
