package anycast

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/bgp"
	"anymx/edge/operate/api"
)

// metrics are counted as they happen. Label values: check is the name of a check, as many as there
// are service points; outcome is good, open, busy or bad; routes is announced, graceful or
// withdrawn.
type metrics struct {
	rounds      *prometheus.CounterVec // by outcome
	checks      *prometheus.CounterVec // by check and outcome
	took        *prometheus.HistogramVec
	transitions *prometheus.CounterVec // by routes
	confirm     prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	times := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	m := &metrics{
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anymx_bgp_rounds_total", Help: "Rounds of health checks by outcome.",
		}, []string{"outcome"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anymx_bgp_checks_total", Help: "Health checks by outcome.",
		}, []string{"check", "outcome"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "anymx_bgp_check_duration_seconds", Help: "Duration of health checks.", Buckets: times,
		}, []string{"check"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anymx_bgp_transitions_total", Help: "Changes of the announced routes, by the new state.",
		}, []string{"routes"}),
		confirm: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "anymx_bgp_confirm_duration_seconds", Buckets: times,
			Help: "Time from a change of the routes until all connected routers acknowledged it.",
		}),
	}
	r.MustRegister(m.rounds, m.checks, m.took, m.transitions, m.confirm)
	return m
}

func (m *metrics) check(c checked) {
	m.checks.WithLabelValues(c.name, c.outcome.String()).Inc()
	m.took.WithLabelValues(c.name).Observe(c.took.Seconds())
}

// gauges are read when scraped. Label values: peer is the address of a router, as many as the
// config has; state is one of RFC 4271 8.2.2; direction is sent or received; type is open, update,
// notification, keepalive or refresh; code is 1 to 7, or 0 for unknown ones.
type gauges struct{ of *Announcer }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("anymx_bgp_"+name, help, labels, nil)
}

var (
	routesDesc        = desc("routes", "1 for the current state of the routes: announced, graceful or withdrawn.", "routes")
	prefixesDesc      = desc("prefixes_announced", "Number of prefixes that are announced, gracefully or as usual.")
	healthDesc        = desc("healthy", "1 while the node is healthy.")
	checkDesc         = desc("check_ok", "1 if the last run of the check was good.", "check", "decides")
	peerStateDesc     = desc("peer_state", "1 for the current state of the session with a router.", "peer", "state")
	peerConfirmedDesc = desc("peer_confirmed", "1 if the router has acknowledged all announcements and withdrawals.", "peer")
	peerPrefixesDesc  = desc("peer_prefixes", "Prefixes announced to the router and not withdrawn.", "peer")
	peerDialsDesc     = desc("peer_dials_total", "Connection attempts to the router.", "peer")
	peerSessionsDesc  = desc("peer_sessions_total", "Established sessions with the router.", "peer")
	peerAnnouncedDesc = desc("peer_announced_total", "Prefixes announced to the router.", "peer")
	peerWithdrawnDesc = desc("peer_withdrawn_total", "Prefixes withdrawn from the router.", "peer")
	messagesDesc      = desc("messages_total", "BGP messages.", "peer", "direction", "type")
	bytesDesc         = desc("message_bytes_total", "Bytes of BGP messages.", "peer", "direction")
	notificationsDesc = desc("notifications_total", "NOTIFICATION messages by code (RFC 4271 4.5).", "peer", "direction", "code")
)

// Describe sends the descriptions of what Collect sends.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		routesDesc, prefixesDesc, healthDesc, checkDesc, peerStateDesc, peerConfirmedDesc, peerPrefixesDesc,
		peerDialsDesc, peerSessionsDesc, peerAnnouncedDesc, peerWithdrawnDesc, messagesDesc, bytesDesc, notificationsDesc,
	} {
		ch <- d
	}
}

// Collect sends the current state.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	status := g.of.Status()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	announced := 0
	for _, r := range []api.Routes{api.Announced, api.Graceful, api.Withdrawn} {
		gauge(routesDesc, one(status.Routes == r), string(r))
	}
	if status.Routes != api.Withdrawn {
		announced = len(status.Prefixes)
	}
	gauge(prefixesDesc, float64(announced))
	gauge(healthDesc, one(status.Health.Up))
	for _, c := range status.Health.Checks {
		gauge(checkDesc, one(c.OK), c.Name, strconv.FormatBool(!c.Information))
	}
	for _, p := range g.of.speaker.Status().Peers {
		collectPeer(ch, &p)
	}
	for _, p := range g.of.withheldPeers() {
		collectPeer(ch, &bgp.PeerStatus{Address: p.Address})
	}
}

func collectPeer(ch chan<- prometheus.Metric, p *bgp.PeerStatus) {
	peer := p.Address.String()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, value, append([]string{peer}, labels...)...)
	}
	for _, s := range []bgp.State{bgp.Idle, bgp.Connect, bgp.OpenSent, bgp.OpenConfirm, bgp.Established} {
		send(peerStateDesc, prometheus.GaugeValue, one(p.State == s), s.String())
	}
	send(peerConfirmedDesc, prometheus.GaugeValue, one(p.Confirmed))
	send(peerPrefixesDesc, prometheus.GaugeValue, float64(len(p.Sent)))
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		send(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(peerDialsDesc, p.Counters.Dials)
	count(peerSessionsDesc, p.Counters.Sessions)
	count(peerAnnouncedDesc, p.Counters.PathsAnnounced)
	count(peerWithdrawnDesc, p.Counters.PathsWithdrawn)
	for _, d := range []struct {
		name string
		of   *bgp.MessageCounters
	}{{"sent", &p.Counters.Sent}, {"received", &p.Counters.Received}} {
		count(messagesDesc, d.of.Opens, d.name, "open")
		count(messagesDesc, d.of.Updates, d.name, "update")
		count(messagesDesc, d.of.Notifications, d.name, "notification")
		count(messagesDesc, d.of.Keepalives, d.name, "keepalive")
		count(messagesDesc, d.of.Refreshes, d.name, "refresh")
		count(bytesDesc, d.of.Bytes, d.name)
		for code, n := range d.of.ByCode {
			count(notificationsDesc, n, d.name, strconv.Itoa(code))
		}
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
