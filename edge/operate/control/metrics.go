package control

import "github.com/prometheus/client_golang/prometheus"

// register creates the endpoint's own metrics and adds them to r, unless it is nil. Label
// "listener" is control or metrics, "route" is one of the patterns given to Handle, "code" is the
// HTTP status.
func (e *Endpoint) register(r prometheus.Registerer) error {
	e.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "anymx_control_requests_total",
		Help: "Requests answered on the control socket and the metrics listener.",
	}, []string{"route", "code"})
	all := []prometheus.Collector{e.requests}
	all = append(all, e.control.collectors("control")...)
	all = append(all, e.metrics.collectors("metrics")...)
	if r == nil {
		return nil
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// collectors returns the metrics of the connections of one listener.
func (l *capped) collectors(name string) []prometheus.Collector {
	labels := prometheus.Labels{"listener": name}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "anymx_control_connections", ConstLabels: labels,
			Help: "Connections that are open.",
		}, func() float64 { return float64(l.open.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "anymx_control_connections_limit", ConstLabels: labels,
			Help: "Connections that may be open; more are closed at once.",
		}, func() float64 { return float64(l.limit) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "anymx_control_connections_refused_total", ConstLabels: labels,
			Help: "Connections that were closed at once because the limit was reached.",
		}, func() float64 { return float64(l.refused.Load()) }),
	}
}
