package network

import (
	"slices"

	"anymx/edge/operate/api"
	"anymx/edge/refusal"
	"anymx/xdp"
)

// status returns the shield's current state. It does not wait for a change that is in progress.
func (s *shield) status() *api.ShieldStatus {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := &api.ShieldStatus{
		Mode: string(s.report.options.Mode), Interfaces: []api.ShieldInterface{}, Verdicts: []api.ShieldVerdict{},
	}
	if s.loaded == nil {
		for _, name := range s.report.options.Interfaces {
			st.Interfaces = append(st.Interfaces, api.ShieldInterface{Name: name, Mode: string(xdp.Off)})
		}
		st.Problem = line(s.report.problem)
		return st
	}
	now, err := s.loaded.Status()
	counters, uncounted := s.loaded.Counters()
	faults := []error{err, uncounted, s.report.problem}
	if now.Problem != "" {
		faults = slices.Insert(faults, 0, error(text(now.Problem)))
	}
	st.Problem = line(oneLine(faults))
	for _, i := range now.Interfaces {
		st.Interfaces = append(st.Interfaces, api.ShieldInterface{
			Name: i.Name, Mode: string(i.Mode), Admits: i.Admits, Problem: i.Problem,
		})
	}
	st.Cookies, st.CookiesReason, st.SharedKey = "own", "", now.SharedKey
	if now.StackCookies {
		st.Cookies, st.CookiesReason = "kernel", now.WhyStackCookies
	}
	st.SYNs, st.Strays = pressure(now.SYNs), pressure(now.Strays)
	st.Listed = now.Listed
	for _, c := range counters {
		st.Verdicts = append(st.Verdicts, api.ShieldVerdict{Verdict: c.Verdict.String(), Packets: c.Packets, Bytes: c.Bytes})
	}
	return st
}

func pressure(p xdp.Pressure) api.ShieldPressure {
	return api.ShieldPressure{On: p.On, Left: api.Seconds(p.Left), Peak: p.Peak, Limit: p.Limit}
}

// top returns the noisiest prefixes, n of each kind.
func (s *shield) top(n int) (api.ShieldTop, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	top := api.ShieldTop{Noisy: []api.ShieldNoisy{}, Openers: []api.ShieldOpener{}}
	if s.loaded == nil {
		if s.report.off {
			return top, nil
		}
		return top, refusal.Unavailable.Wrap(s.report.problem)
	}
	noisy, err := s.loaded.Top(n)
	if err != nil {
		return top, err
	}
	openers, err := s.loaded.Openers(n)
	if err != nil {
		return top, err
	}
	for _, o := range noisy {
		top.Noisy = append(top.Noisy, api.ShieldNoisy{Prefix: o.Prefix, Packets: o.Packets, Bytes: o.Bytes, Last: o.Last.String(), Seen: o.Seen})
	}
	for _, o := range openers {
		top.Openers = append(top.Openers, api.ShieldOpener{Prefix: o.Prefix, Connections: o.Connections, Limited: o.Limited, Seen: o.Seen})
	}
	return top, nil
}

// unprotected reports whether packets pass unfiltered that should not.
func unprotected(s *api.ShieldStatus) bool {
	return s.Mode != string(xdp.Off) &&
		slices.ContainsFunc(s.Interfaces, func(i api.ShieldInterface) bool { return i.Mode == string(xdp.Off) })
}

// text is an error message that is already formatted.
type text string

func (t text) Error() string { return string(t) }

// line returns an error's text, "" for nil.
func line(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
