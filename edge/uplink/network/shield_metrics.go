package network

import (
	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/operate/api"
	"anymx/xdp"
)

// The shield's metrics. Verdicts are those of package xdp; interfaces are those of
// the config; mode is "native" or "generic"; kind is "syns" or "strays"; event is
// "sent", "returned", "admitted" or "refused".
var (
	descShieldPackets  = describe("anymx_shield_packets_total", "Packets that were judged so, since the shield's maps were made.", "verdict")
	descShieldBytes    = describe("anymx_shield_bytes_total", "Bytes of frames that were judged so.", "verdict")
	descShieldCookies  = describe("anymx_shield_cookies_total", "SYN cookies, by what became of them.", "event")
	descShieldAttached = describe("anymx_shield_attached", "1 for the mode that the shield runs in on an interface.", "interface", "mode")
	descShieldPressure = describe("anymx_shield_pressure", "1 while more packets of a kind come than the limit, and shield.hold longer.", "kind")
	descShieldPeak     = describe("anymx_shield_rate_peak", "The most packets of a kind in a second, since the shield's maps were made.", "kind")
	descShieldLimit    = describe("anymx_shield_limit", "How many packets of a kind in a second pass to the stack.", "kind")
	descShieldListed   = describe("anymx_shield_listed", "Prefixes on the block list and the allow list.")
	descShieldFailed   = describe("anymx_shield_failed", "1 if packets pass unprotected that should not.")
)

// cookieEvents are the verdicts that tell of cookies.
var cookieEvents = map[string]string{
	xdp.SYNAnswered.String(): "sent", xdp.Cookie.String(): "returned",
	xdp.Admitted.String(): "admitted", xdp.Unadmitted.String(): "refused",
}

// shieldDescs are the shield's metrics.
var shieldDescs = []*prometheus.Desc{
	descShieldPackets, descShieldBytes, descShieldCookies, descShieldAttached, descShieldPressure,
	descShieldPeak, descShieldLimit, descShieldListed, descShieldFailed,
}

// collectShield measures them.
func collectShield(to chan<- prometheus.Metric, s *api.ShieldStatus) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(descShieldFailed, oneIf(unprotected(s)))
	for _, i := range s.Interfaces {
		for _, mode := range []xdp.Mode{xdp.Native, xdp.Generic} {
			gauge(descShieldAttached, oneIf(i.Mode == string(mode)), i.Name, string(mode))
		}
	}
	if len(s.Verdicts) == 0 {
		return // nothing is loaded
	}
	for _, v := range s.Verdicts {
		count(descShieldPackets, v.Packets, v.Verdict)
		count(descShieldBytes, v.Bytes, v.Verdict)
		if event, ok := cookieEvents[v.Verdict]; ok {
			count(descShieldCookies, v.Packets, event)
		}
	}
	for kind, p := range map[string]api.ShieldPressure{"syns": s.SYNs, "strays": s.Strays} {
		gauge(descShieldPressure, oneIf(p.On), kind)
		gauge(descShieldPeak, p.Peak, kind)
		gauge(descShieldLimit, p.Limit, kind)
	}
	gauge(descShieldListed, float64(s.Listed))
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
