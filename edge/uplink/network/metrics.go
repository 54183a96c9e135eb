package network

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics. Kinds are "address", "route" and "rule"; present is "true" or "false"; peers are the
// public keys in the config; direction is "received" or "sent".
var (
	descThings    = describe("anymx_net_things", "Addresses, routes and rules that the config asks for.", "kind", "present")
	descRepairs   = describe("anymx_net_repairs_total", "Addresses, routes and rules restored after another program had changed or removed them.")
	descRetries   = describe("anymx_net_retries_total", "Retries of IPv6 addresses that another host used.")
	descContested = describe("anymx_net_contested_things", "Addresses, routes and rules that another program removes repeatedly.")
	descCompared  = describe("anymx_net_compared_timestamp_seconds", "Unix time at which config and kernel were last compared.")

	descUp        = describe("anymx_tunnel_up", "1 if each peer with an endpoint or a keepalive has had a handshake within three minutes.")
	descMTU       = describe("anymx_tunnel_mtu_bytes", "MTU inside the tunnel.")
	descHandshake = describe("anymx_tunnel_handshake_age_seconds", "Time since the last handshake; absent before the first.", "peer")
	descBytes     = describe("anymx_tunnel_bytes_total", "Bytes through the tunnel, including WireGuard's own messages.", "peer", "direction")
)

func describe(name, about string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, about, labels, nil)
}

// gauges reads the metrics from the status at each scrape.
type gauges struct{ *network }

// Describe names the metrics.
func (g gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descThings, descRepairs, descRetries, descContested, descCompared, descUp, descMTU, descHandshake, descBytes} {
		to <- d
	}
	for _, d := range shieldDescs {
		to <- d
	}
}

// Collect sends their current values.
func (g gauges) Collect(to chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	p := g.plumbing.Status()
	counts := map[[2]string]int{}
	for _, kind := range []string{"address", "route", "rule"} {
		counts[[2]string{kind, "true"}], counts[[2]string{kind, "false"}] = 0, 0
	}
	for _, s := range p.Things {
		counts[[2]string{s.Kind(), strconv.FormatBool(s.Present)}]++
	}
	for labels, n := range counts {
		send(descThings, prometheus.GaugeValue, float64(n), labels[:]...)
	}
	send(descRepairs, prometheus.CounterValue, float64(p.Repaired))
	send(descRetries, prometheus.CounterValue, float64(p.Retried))
	send(descContested, prometheus.GaugeValue, float64(p.Contested))
	if !p.Compared.IsZero() {
		send(descCompared, prometheus.GaugeValue, float64(p.Compared.UnixMilli())/1000)
	}
	if g.shield != nil {
		collectShield(to, g.shield.status())
	}
	if g.core == nil {
		return
	}
	t, _ := g.core.status()
	send(descUp, prometheus.GaugeValue, oneIf(t.Up))
	if t.MTU > 0 {
		send(descMTU, prometheus.GaugeValue, float64(t.MTU))
	}
	for _, peer := range t.Peers {
		name := peer.PublicKey.String()
		if !peer.LastHandshake.IsZero() {
			send(descHandshake, prometheus.GaugeValue, time.Since(peer.LastHandshake).Seconds(), name)
		}
		send(descBytes, prometheus.CounterValue, float64(peer.Received), name, "received")
		send(descBytes, prometheus.CounterValue, float64(peer.Sent), name, "sent")
	}
}
