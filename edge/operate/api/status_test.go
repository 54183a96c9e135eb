package api

import (
	"net/netip"
	"testing"
	"time"
)

func TestInService(t *testing.T) {
	ready := Readiness{OK: true}
	said := func(routes Routes, confirmed ...bool) *Neighbour[SpeakerStatus] {
		s := SpeakerStatus{Routes: routes}
		for _, c := range confirmed {
			s.Peers = append(s.Peers, SpeakerPeer{Address: netip.MustParseAddr("198.51.100.1"), State: "Established", Confirmed: c})
		}
		return &Neighbour[SpeakerStatus]{Asked: textNow, Status: &s}
	}
	problem := said(Announced, true)
	problem.Problem = "it does not answer"
	noSession := said(Announced, true)
	noSession.Status.Peers[0].State = "Idle"
	for name, tt := range map[string]struct {
		s     Status
		since time.Time
		want  bool
	}{
		"alone":        {Status{Phase: Running, Ready: ready}, textNow, true},
		"not ready":    {Status{Phase: Running}, textNow, false},
		"draining":     {Status{Phase: Draining, Ready: ready, Speaker: said(Announced, true)}, textNow, false},
		"announced":    {Status{Phase: Running, Ready: ready, Speaker: said(Announced, false, true)}, textNow, true},
		"heard before": {Status{Phase: Running, Ready: ready, Speaker: said(Announced, true)}, textNow.Add(time.Second), false},
		"graceful":     {Status{Phase: Running, Ready: ready, Speaker: said(Graceful, true)}, textNow, false},
		"withdrawn":    {Status{Phase: Running, Ready: ready, Speaker: said(Withdrawn, true)}, textNow, false},
		"unconfirmed":  {Status{Phase: Running, Ready: ready, Speaker: said(Announced, false)}, textNow, false},
		"no session":   {Status{Phase: Running, Ready: ready, Speaker: noSession}, textNow, false},
		"no router":    {Status{Phase: Running, Ready: ready, Speaker: said(Announced)}, textNow, false},
		"silent":       {Status{Phase: Running, Ready: ready, Speaker: problem}, textNow, false},
		"not asked":    {Status{Phase: Running, Ready: ready, Speaker: &Neighbour[SpeakerStatus]{}}, time.Time{}, false},
	} {
		if got := tt.s.InService(tt.since); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

var textNow = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
