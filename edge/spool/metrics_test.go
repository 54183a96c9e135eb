package spool

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Two spools can't share a registerer at the same time, but one after the other.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	o := testOptions(memory())
	o.Metrics = reg
	s := openTest(t, o)
	store(t, s, make([]byte, 123))
	o2 := testOptions(memory())
	o2.Metrics = reg
	if _, err := Open(o2); err == nil {
		t.Error("registered twice")
	}
	got := gathered(t, reg)
	for name, want := range map[string]float64{
		"anymx_spool_messages": 1, "anymx_spool_bytes": 123, "anymx_spool_committed_messages_total": 1, "anymx_spool_accepting": 1,
		"anymx_spool_commit_seconds": 1, "anymx_spool_group_commits": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, o)
	if n := gathered(t, reg)["anymx_spool_messages"]; n != 1 {
		t.Errorf("%v messages after opening again", n)
	}
}

// gathered returns each metric without labels, of histograms the count.
func gathered(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		all[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return all
}
