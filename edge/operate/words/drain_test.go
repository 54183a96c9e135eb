package words

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
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
		step api.StepStatus
		want string
	}{
		{api.StepStatus{Step: api.StepConverge, Began: began, Limit: api.Seconds(5 * time.Second)}, "3s of at most 5s: strays are still served"},
		{api.StepStatus{Step: api.StepFlush, Began: began}, "3s: the spool is handed over to core"},
		{api.StepStatus{Step: "new\x1b[2J", Began: began, Note: "a\x1b[2Jb"}, `3s: a\x1b[2Jb`},
		{api.StepStatus{Step: api.StepWithdraw, Began: began, Ended: began.Add(12 * time.Millisecond)}, "took 12ms"},
		{api.StepStatus{Step: api.StepWithdraw, Began: began, Ended: textNow, Note: "a\x1b[2Jb"}, `took 3s: a\x1b[2Jb`},
	} {
		if got := StepText(tt.step, textNow); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.step, got, tt.want)
		}
	}
}

func TestLeft(t *testing.T) {
	step := []api.StepStatus{{Step: api.StepSessions, Began: textNow.Add(-2 * time.Second), Limit: api.Seconds(time.Minute)}}
	paused := api.QueueStatus{Active: 1, Waiting: 2, Held: 3, Paused: []api.PauseStatus{{Cause: "no address of core answers"}}}
	for name, tt := range map[string]struct {
		s    api.Status
		want []string
	}{
		"running":   {api.Status{Phase: api.Running, Queue: paused}, []string{"it is in service"}},
		"drained":   {api.Status{Phase: api.Drained, Drain: &api.DrainStatus{}}, nil},
		"held":      {api.Status{Phase: api.Drained, Drain: &api.DrainStatus{Messages: 3, Held: 3}}, nil},
		"not told":  {api.Status{Phase: api.Drained, Queue: api.QueueStatus{Held: 1}}, nil},
		"messages":  {api.Status{Phase: api.Drained, Drain: &api.DrainStatus{Messages: 4, Held: 3}}, []string{"not handed over to core: 1 message"}},
		"paused":    {api.Status{Phase: api.Drained, Queue: paused}, []string{"not handed over to core: 3 messages, because delivery is paused: no address of core answers"}},
		"core down": {api.Status{Phase: api.Drained, Drain: &api.DrainStatus{Messages: 2}, Core: []api.CoreStatus{{Address: "10.77.0.1:2525", Health: api.Down, LastError: "refused\x07"}}}, []string{`not handed over to core: 2 messages; 10.77.0.1:2525: refused\a`}},
		"core up":   {api.Status{Phase: api.Drained, Drain: &api.DrainStatus{Messages: 2}, Core: []api.CoreStatus{{Health: api.Down, LastError: "refused"}, {Health: api.Up}}}, []string{"not handed over to core: 2 messages"}},
		"a group is down": {api.Status{Phase: api.Drained, Drain: &api.DrainStatus{Messages: 2}, Core: []api.CoreStatus{
			{Health: api.Up}, {Health: api.Down, LastError: "not this"}, {Group: "archive", Address: "10.77.0.9:24", Health: api.Down, LastError: "refused"},
		}}, []string{"not handed over to core: 2 messages; archive 10.77.0.9:24: refused"}},
		"between": {api.Status{Phase: api.Draining, Drain: &api.DrainStatus{}}, []string{"it is draining"}},
		"sessions": {api.Status{Phase: api.Draining, Drain: &api.DrainStatus{Steps: step, Sessions: 2, Messages: 1}}, []string{
			"it is draining: sessions 2s of at most 1m: sessions end, new ones are told to come back later", "open: 2 sessions", "not handed over to core: 1 message",
		}},
		"stopping": {api.Status{Phase: api.Stopping, Drain: &api.DrainStatus{Stopping: true}}, []string{"it is stopping"}},
	} {
		if got := DrainLeft(tt.s, textNow); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// The reports of any status are lines that a terminal can show.
func FuzzReports(f *testing.F) {
	f.Add("draining", "flush", "note\x1b[2J", "10.0.0.1", int64(3))
	f.Add("running", "", "\xff\n", "", int64(-1))
	f.Fuzz(func(t *testing.T, phase, step, text, peer string, n int64) {
		address, _ := netip.ParseAddr(peer) // the zero address too
		s := api.Status{
			Name: text, Phase: api.Phase(phase), Since: textNow, Ready: api.Readiness{Reason: text},
			Drain: &api.DrainStatus{Reason: text, Began: textNow, Messages: n, Held: -n, Peers: int(n), Steps: []api.StepStatus{
				{Step: api.DrainStep(step), Began: textNow, Limit: api.Seconds(time.Duration(n)), Note: text},
			}},
			Core: []api.CoreStatus{{Group: text, Address: text, LastError: text, Probe: &api.ProbeStatus{Problem: text}}},
			Speaker: &api.Neighbour[api.SpeakerStatus]{Problem: text, Status: &api.SpeakerStatus{
				Routes: api.Routes(step), Reason: text, Desired: api.DesiredState{Routes: api.Routes(step), Reason: text},
				Health: api.SpeakerHealth{Reason: text, Checks: []api.HealthCheck{{Name: text, Reason: text}}},
				Peers:  []api.SpeakerPeer{{Address: address, State: phase, LastError: text, LastNotification: text}},
				Config: &api.ConfigStatus{Problem: text, Restart: []string{text}},
			}},
			Network: &api.Neighbour[api.NetworkStatus]{Problem: text, Status: &api.NetworkStatus{
				Problem: text, Items: []api.NetworkItem{{Kind: text, What: text, Purpose: text, Problem: text}},
				Tunnel: &api.TunnelStatus{Interface: text, Implementation: step, Reason: text, PublicKey: text, Problem: text, Peers: []api.TunnelPeer{{PublicKey: text, Endpoint: text}}},
			}},
		}
		var b strings.Builder
		if err := WriteStatus(&b, s, textNow); err != nil {
			t.Fatal(err)
		}
		lines := slices.Collect(strings.Lines(b.String()))
		for _, r := range []Report{DrainReport(s, textNow), ResumeReport(s, textNow), SpeakerReport(*s.Speaker.Status, textNow)} {
			lines = append(append(lines, r.Line), r.Lines...)
		}
		for _, l := range append(lines, DrainLeft(s, textNow)...) {
			if l = strings.TrimSuffix(l, "\n"); l != Clean(l) {
				t.Errorf("%q can't be shown", l)
			}
		}
	})
}
