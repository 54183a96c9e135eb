package edge

import (
	"crypto/tls"
	"net/netip"
	"path/filepath"
	"time"

	"anymx/edge/budget"
	"anymx/edge/config"
	"anymx/edge/delivery/handoff"
	"anymx/edge/delivery/routing"
	"anymx/edge/delivery/smtpc"
	"anymx/edge/ingress/smtpd"
	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/queue"
	"anymx/edge/service"
	"anymx/edge/statefile"
	"anymx/edge/uplink/device"
)

// This file translates the config into the options of the parts.

// smtpdSettings returns what a reload changes for new connections.
func smtpdSettings(c *config.Config, domains *policy.Domains, tlsConfig *tls.Config) smtpd.Settings {
	in := &c.Ingress
	return smtpd.Settings{
		Wire: wire.Settings{TLS: tlsConfig, Limits: wireLimits(c)},
		Rules: &policy.Rules{
			Hostname:      c.Node.Hostname,
			Domains:       domains,
			MaxMessage:    int64(in.MaxMessageSize),
			MaxRecipients: in.MaxRecipients,
			MaxRefused:    in.MaxRefusedRecipients,
			MaxMessages:   in.MaxMessagesPerConnection,
			MaxReceived:   in.MaxReceived,
			MaxHeader:     int64(in.MaxHeaderSize),
			MaxFields:     in.MaxHeaderFields,
			RequireTLS:    in.StartTLSRequired,
			SenderRouting: in.SenderRouting == config.SenderRoutingAllow,
			NoTLS:         tlsConfig == nil && in.TLSCert != "",
		},
		MaxCommands:  in.MaxCommands,
		MaxErrors:    in.MaxErrors,
		RefusedDelay: time.Duration(in.RefusedDelay),
		NoChunking:   !in.Chunking,
		MaxEnvelope:  int64(in.MaxEnvelope),
		LogSessions:  c.Log.Sessions,
	}
}

func wireLimits(c *config.Config) wire.Limits {
	in := &c.Ingress
	return wire.Limits{
		MaxConnections:   in.MaxConnections,
		DrainSilence:     time.Duration(c.Drain.Silence),
		MaxPerPrefix:     in.MaxConnectionsPerPrefix,
		MaxShare:         in.MaxConnectionsShare,
		Reserved:         in.ReservedConnections,
		Crowded:          in.Crowded,
		CrowdedTimeout:   time.Duration(in.CrowdedTimeout),
		MaxLine:          in.MaxLine,
		MaxTextLine:      in.MaxTextLine,
		NormalizeLF:      in.BareLF == config.BareLFNormalize,
		CommandTimeout:   time.Duration(in.CommandTimeout),
		DataTimeout:      time.Duration(in.DataTimeout),
		WriteTimeout:     time.Duration(in.WriteTimeout),
		HandshakeTimeout: time.Duration(in.HandshakeTimeout),
		SessionTimeout:   time.Duration(in.SessionTimeout),
		ProxyTimeout:     time.Duration(in.ProxyTimeout),
		BannerDelay:      time.Duration(in.BannerDelay),
		MinRate:          int64(in.MinRate),
		MinRateGrace:     time.Duration(in.MinRateGrace),
		ProxyFrom:        in.ProxyProtocolFrom,
	}
}

// inFlight returns how many bytes of drafts may be on the disk, in all and of one network: as
// configured, or a share of the reserve in which one message fits.
func inFlight(c *config.Config) (all, network int64) {
	derive := func(set, share config.Size) int64 {
		if set > 0 {
			return int64(set)
		}
		return int64(max(share, c.Ingress.MaxMessageSize+config.MiB)) // with our trace field
	}
	return derive(c.Spool.InFlight, c.Spool.DiskReserve/2), derive(c.Spool.NetworkInFlight, c.Spool.DiskReserve/8)
}

// memoryBudget returns the budget for all transactions.
func memoryBudget(c *config.Config) *budget.Budget {
	if c.Ingress.MaxMemory > 0 {
		return budget.New(int64(c.Ingress.MaxMemory))
	}
	return budget.New(service.Memory() / 4)
}

// probed returns the service addresses, which the speaker connects to.
func probed(service []netip.Prefix) []netip.Addr {
	var list []netip.Addr
	for _, p := range service {
		list = append(list, p.Addr().Unmap())
	}
	return list
}

func schedule(q *config.Queue) queue.Schedule {
	s := queue.Schedule{
		Jitter: q.Jitter, Expire: time.Duration(q.Expire), DelayNotice: time.Duration(q.DelayNotice),
	}
	for _, wait := range q.Retry {
		s.Retry = append(s.Retry, time.Duration(wait))
	}
	return s
}

// routes returns where mail for each domain goes.
func routes(c *config.Config) *routing.Table {
	domains := make([]routing.Domain, len(c.Domains))
	for i := range c.Domains {
		domains[i] = routing.Domain{Name: c.Domains[i].Name, Core: c.Domains[i].Core}
	}
	return routing.New(domains)
}

// lane returns the options of the queue's lane to a destination.
func (n *Node) lane(destination string) queue.LaneOptions {
	c := n.reloader.Config()
	core := &c.Core
	if name, ok := routing.GroupOf(destination); ok && name != "" {
		if group, ok := c.Cores[name]; ok {
			core = &group
		}
	}
	return queue.LaneOptions{Limit: core.MaxConnections, ShareByDomain: true}
}

// attempts returns how many attempts may be made at a time: as many as all lanes may make, and some
// more for groups that a reload adds.
func attempts(c *config.Config) int {
	n := c.Core.MaxConnections
	for _, group := range c.Cores {
		n += group.MaxConnections
	}
	return n + addedAttempts
}

// addedAttempts is how many attempts there are for groups that a reload adds. A worker exists only
// while it has something to do.
const addedAttempts = 256

// coreOptions returns the options of the hand-off to the default core, "", and to each core group.
func (n *Node) coreOptions(c *config.Config) map[string]handoff.Options {
	all := map[string]handoff.Options{"": n.withLog(handoffOptions(c, &c.Core, n.tunnel), "core-extensions.json")}
	for name, core := range c.Cores {
		all[name] = n.withLog(handoffOptions(c, &core, n.tunnel), "core-extensions."+name+".json")
	}
	return all
}

// withLog returns o with the node's log and metrics, and the file in which it keeps what it learns.
func (n *Node) withLog(o handoff.Options, file string) handoff.Options {
	o.Log, o.Metrics = n.log, n.metrics
	o.Learned = statefile.File(filepath.Join(n.options.Config.Node.StateDir, file))
	return o
}

// handoffOptions returns the options of a hand-off to core that dials through d; with nil it uses the
// routes of the host.
func handoffOptions(c *config.Config, core *config.Core, d *device.Device) handoff.Options {
	o := handoff.Options{
		Addresses: core.Addresses,
		LMTP:      core.Protocol == "lmtp",
		Hello:     c.Node.Hostname,
		Node:      c.Node.Name,
		TLSMode:   map[string]smtpc.TLSMode{"auto": smtpc.TLSAuto, "require": smtpc.TLSRequire, "never": smtpc.TLSNever}[core.StartTLS],
		// Traffic through the tunnel device is encrypted.
		PrivateLink:           c.Tunnel != nil || loopback(core.Addresses),
		Anonymous:             core.XClient == "never",
		MaxConnections:        core.MaxConnections,
		MessagesPerConnection: core.MessagesPerConnection,
		IdleTimeout:           time.Duration(core.IdleTimeout),
		ConnectTimeout:        time.Duration(core.ConnectTimeout),
		CommandTimeout:        time.Duration(core.CommandTimeout),
		DataTimeout:           time.Duration(core.DataTimeout),
		BackoffMax:            time.Duration(core.BackoffMax),
		EHLOInterval:          time.Duration(core.EHLOInterval),
	}
	if d != nil {
		o.Dial = d.Dial
	}
	return o
}

// loopback reports whether all addresses are on this host.
func loopback(addresses []string) bool {
	for _, a := range addresses {
		ap, err := netip.ParseAddrPort(a)
		if err != nil || !ap.Addr().IsLoopback() {
			return false
		}
	}
	return true
}
