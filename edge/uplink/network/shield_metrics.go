package network

import (
	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/operate/api"
	"anymx/xdp"
)

// The shield's metrics. Verdicts are those of package xdp; interfaces are those in the config; mode
// is "native" or "generic"; kind is "syns" or "strays"; event is "sent", "returned", "admitted" or
// "refused".
var (
	descShieldPackets  = describe("anymx_shield_packets_total", "Packets by verdict, since the shield's maps were created.", "verdict")
	descShieldBytes    = describe("anymx_shield_bytes_total", "Bytes of frames by verdict, since the shield's maps were created.", "verdict")
	descShieldCookies  = describe("anymx_shield_cookies_total", "SYN cookies by outcome.", "event")
	descShieldAttached = describe("anymx_shield_attached", "1 for the mode in which the shield runs on an interface.", "interface", "mode")
	descShieldPressure = describe("anymx_shield_pressure", "1 while the packet rate of a kind exceeds its limit, and for shield.hold after.", "kind")
	descShieldPeak     = describe("anymx_shield_rate_peak", "Highest rate of a kind in packets per second, since the shield's maps were created.", "kind")
	descShieldLimit    = describe("anymx_shield_limit", "Limit of a kind in packets per second.", "kind")
	descShieldListed   = describe("anymx_shield_listed", "Number of prefixes on the block list and the allow list.")
	descShieldFailed   = describe("anymx_shield_failed", "1 if packets pass unfiltered although the config asks for the shield.")
)

// cookieEvents are the verdicts about cookies.
var cookieEvents = map[string]string{
	xdp.SYNAnswered.String(): "sent", xdp.Cookie.String(): "returned",
	xdp.Admitted.String(): "admitted", xdp.Unadmitted.String(): "refused",
}

// shieldDescs are the shield's metrics.
var shieldDescs = []*prometheus.Desc{
	descShieldPackets, descShieldBytes, descShieldCookies, descShieldAttached, descShieldPressure,
	descShieldPeak, descShieldLimit, descShieldListed, descShieldFailed,
}

// collectShield sends their current values.
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
