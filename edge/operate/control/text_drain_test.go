package control

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var textNow = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0ms", 12 * time.Millisecond: "12ms", 999999 * time.Microsecond: "999ms", time.Second: "1s",
		1290 * time.Millisecond: "1.2s", 9999 * time.Millisecond: "9.9s", 10*time.Second + 900*time.Millisecond: "10s", 90 * time.Second: "1m 30s",
	} {
		if got := took(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestStepText(t *testing.T) {
	began := textNow.Add(-3 * time.Second)
	for _, tt := range []struct {
		step StepStatus
		want string
	}{
		{StepStatus{Step: StepConverge, Began: began, Limit: 5 * time.Second}, "3s of at most 5s: strays are still served"},
		{StepStatus{Step: StepFlush, Began: began}, "3s: the spool is handed over to core"},
		{StepStatus{Step: "new\x1b[2J", Began: began, Note: "a\x1b[2Jb"}, `3s: a\x1b[2Jb`},
		{StepStatus{Step: StepWithdraw, Began: began, Ended: began.Add(12 * time.Millisecond)}, "took 12ms"},
		{StepStatus{Step: StepWithdraw, Began: began, Ended: textNow, Note: "a\x1b[2Jb"}, `took 3s: a\x1b[2Jb`},
	} {
		if got := tt.step.text(textNow); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.step, got, tt.want)
		}
	}
}

func TestLeft(t *testing.T) {
	step := []StepStatus{{Step: StepSessions, Began: textNow.Add(-2 * time.Second), Limit: time.Minute}}
	paused := QueueStatus{Active: 1, Waiting: 2, Held: 3, Paused: &PauseStatus{Cause: "no address of core answers"}}
	for name, tt := range map[string]struct {
		s    Status
		want []string
	}{
		"running":   {Status{Phase: Running, Queue: paused}, []string{"it is in service"}},
		"drained":   {Status{Phase: Drained, Drain: &DrainStatus{}}, nil},
		"held":      {Status{Phase: Drained, Drain: &DrainStatus{Messages: 3, Held: 3}}, nil},
		"not told":  {Status{Phase: Drained, Queue: QueueStatus{Held: 1}}, nil},
		"messages":  {Status{Phase: Drained, Drain: &DrainStatus{Messages: 4, Held: 3}}, []string{"not handed over to core: 1 message"}},
		"paused":    {Status{Phase: Drained, Queue: paused}, []string{"not handed over to core: 3 messages, because delivery is paused: no address of core answers"}},
		"core down": {Status{Phase: Drained, Drain: &DrainStatus{Messages: 2}, Core: []CoreStatus{{Address: "10.77.0.1:2525", Health: Down, LastError: "refused\x07"}}}, []string{`not handed over to core: 2 messages; 10.77.0.1:2525: refused\a`}},
		"core up":   {Status{Phase: Drained, Drain: &DrainStatus{Messages: 2}, Core: []CoreStatus{{Health: Down, LastError: "refused"}, {Health: Up}}}, []string{"not handed over to core: 2 messages"}},
		"between":   {Status{Phase: Draining, Drain: &DrainStatus{}}, []string{"it is draining"}},
		"sessions": {Status{Phase: Draining, Drain: &DrainStatus{Steps: step, Sessions: 2, Messages: 1}}, []string{
			"it is draining: sessions 2s of at most 1m: sessions end, new ones are told to come back later", "open: 2 sessions", "not handed over to core: 1 message",
		}},
		"stopping": {Status{Phase: Stopping, Drain: &DrainStatus{Stopping: true}}, []string{"it is stopping"}},
	} {
		if got := tt.s.Left(textNow); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

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

// Whatever a status holds, its reports are lines that a terminal can show.
func FuzzReports(f *testing.F) {
	f.Add("draining", "flush", "note\x1b[2J", "10.0.0.1", int64(3))
	f.Add("running", "", "\xff\n", "", int64(-1))
	f.Fuzz(func(t *testing.T, phase, step, text, peer string, n int64) {
		address, _ := netip.ParseAddr(peer) // the zero address too
		s := Status{
			Name: text, Phase: Phase(phase), Since: textNow, Ready: Readiness{Reason: text},
			Drain: &DrainStatus{Reason: text, Began: textNow, Messages: n, Held: -n, Peers: int(n), Steps: []StepStatus{
				{Step: DrainStep(step), Began: textNow, Limit: time.Duration(n), Note: text},
			}},
			Core: []CoreStatus{{Address: text, LastError: text, Probe: &ProbeStatus{Problem: text}}},
			Speaker: &Neighbour[SpeakerStatus]{Problem: text, Status: &SpeakerStatus{
				Routes: Routes(step), Reason: text, Order: Order{Routes: Routes(step), Reason: text},
				Health: SpeakerHealth{Reason: text, Checks: []HealthCheck{{Name: text, Reason: text}}},
				Peers:  []SpeakerPeer{{Address: address, State: phase, LastError: text, LastNotification: text}},
				Config: &ConfigStatus{Problem: text, Restart: []string{text}},
			}},
			Network: &Neighbour[NetworkStatus]{Problem: text, Status: &NetworkStatus{
				Problem: text, Things: []NetworkThing{{Kind: text, What: text, Purpose: text, Problem: text}},
				Tunnel: &TunnelStatus{Interface: text, Implementation: step, Why: text, PublicKey: text, Problem: text, Peers: []TunnelFarSide{{PublicKey: text, Endpoint: text}}},
			}},
		}
		var b strings.Builder
		if err := s.WriteText(&b, textNow); err != nil {
			t.Fatal(err)
		}
		lines := slices.Collect(strings.Lines(b.String()))
		for _, r := range []Report{s.DrainReport(textNow), s.ResumeReport(textNow), s.Speaker.Status.Report(textNow)} {
			lines = append(append(lines, r.Line), r.Lines...)
		}
		for _, l := range append(lines, s.Left(textNow)...) {
			if l = strings.TrimSuffix(l, "\n"); l != Clean(l) {
				t.Errorf("%q can't be shown", l)
			}
		}
	})
}
