package service

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"anymx/edge/operate/api"
)

// NewRegistry returns a program's registry with the metrics of every program, and its own
// collectors. A nil clock has no metrics. It panics if two have the same metric.
//
//	anymx_build_info   version, commit, go: what the program was built from; always 1
//	anymx_memory_limit_bytes
func NewRegistry(clock *Clock, own ...prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(), memoryLimit())
	if clock != nil {
		r.MustRegister(clock)
	}
	r.MustRegister(own...)
	return r
}

func buildInfo() prometheus.Collector {
	v := api.ThisVersion()
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "anymx_build_info", Help: "What the program was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": v.Version, "commit": v.Commit, "go": v.Go},
	})
	g.Set(1)
	return g
}
