package handoff

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"anymx/edge/delivery/smtpc/smtptest"
)

func TestMetrics(t *testing.T) {
	server := full()
	server.Hook = func(step smtptest.Step) smtptest.Action {
		switch {
		case strings.Contains(step.Line, "r1@"):
			return smtptest.Action{Reply: "550 5.1.1 no"}
		case strings.Contains(step.Line, "r2@"):
			return smtptest.Action{Reply: "450 4.2.0 later"}
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	registry := prometheus.NewRegistry()
	h, st := newHandoff(t, Options{Metrics: registry, Addresses: []string{l.Addr().String()}}, server), newStore(t)
	deliver(t, h, st.try(text, 3))
	want := []string{
		`connections{address="0",state="busy"} 0`, `connections{address="0",state="idle"} 0`,
		`connections{address="1",state="busy"} 0`, `connections{address="1",state="idle"} 1`,
		`dials_total{address="0",result="failed"} 1`, `dials_total{address="1",result="opened"} 1`,
		`extension{address="1",extension="8BITMIME"} 1`, `extension{address="1",extension="SMTPUTF8"} 1`,
		`failures_total{address="0",class="connect"} 1`,
		`failures_total{address="1",class="permanent"} 1`, `failures_total{address="1",class="transient"} 1`,
		`limit_messages{address="0"} 16`, `limit_messages{address="1"} 16`,
		`transaction_seconds{} 1`,
		`up{address="0"} 0`, `up{address="1"} 1`,
		`waiting_messages{} 0`,
	}
	if got := gather(t, registry); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := New(Options{Hello: "x", Addresses: []string{"127.0.0.1:1"}, Metrics: registry}); err == nil {
		t.Error("registered twice")
	}
	h.Close()
	if left := gather(t, registry); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// gather renders all metrics, without their prefix; of a histogram the count.
func gather(t *testing.T, g prometheus.Gatherer) (lines []string) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			if family.GetType() == dto.MetricType_HISTOGRAM {
				value = float64(m.GetHistogram().GetSampleCount())
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %v", strings.TrimPrefix(family.GetName(), prefix), strings.Join(labels, ","), value))
		}
	}
	return lines
}
