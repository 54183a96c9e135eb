package drain

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/queue"
)

// wants is a table's line of steps: "graceful 10s, withdraw 5s".
func wants(c stepInput) string {
	var list []string
	for _, step := range steps {
		if limit, taken := c.plan(step); taken {
			list = append(list, string(step)+" "+limit.String())
		}
	}
	return strings.Join(list, ", ")
}

func TestPlan(t *testing.T) {
	limits := config.Default().Drain
	if limits == (config.Drain{}) {
		t.Fatal("the drain has no defaults")
	}
	second := config.Duration(time.Second)
	limits = config.Drain{Graceful: 10 * second, Confirm: 4 * second, Converge: 6 * second, Sessions: 60 * second, Flush: 300 * second}
	none := config.Drain{Sessions: 60 * second, Flush: 300 * second}
	tests := []struct {
		name  string
		input stepInput
		want  string
	}{
		{"a drain", stepInput{limits: limits, routes: true, attracts: true},
			"graceful 10s, withdraw 4s, converge 6s, sessions 1m0s, flush 5m0s"},
		{"now", stepInput{limits: limits, routes: true, attracts: true, hasty: true},
			"withdraw 4s, converge 6s, sessions 1m0s, flush 5m0s"},
		{"routes withdrawn before, or a restart", stepInput{limits: limits, routes: true},
			"withdraw 4s, sessions 1m0s, flush 5m0s"},
		{"no speaker", stepInput{limits: limits, attracts: true}, "sessions 1m0s, flush 5m0s"},
		{"no time for routes", stepInput{limits: none, routes: true, attracts: true}, "withdraw 0s, sessions 1m0s, flush 5m0s"},
		{"stopping", stepInput{limits: limits, routes: true, attracts: true, stopping: true, grace: 20 * time.Second, left: 9 * time.Second},
			"graceful 5s, withdraw 4s, converge 5s, sessions 9s, flush 9s"},
		{"stopping with little grace", stepInput{limits: limits, routes: true, attracts: true, stopping: true, grace: 2 * time.Second, left: time.Second},
			"graceful 500ms, withdraw 500ms, converge 500ms, sessions 1s, flush 1s"},
		{"stopping at once", stepInput{limits: limits, routes: true, attracts: true, stopping: true, hasty: true, grace: 20 * time.Second, left: 9 * time.Second},
			"withdraw 4s, sessions 9s, flush 9s"},
		{"stopping without grace", stepInput{limits: limits, routes: true, attracts: true, stopping: true},
			"withdraw 0s, sessions 0s, flush 0s"},
		{"stopping, late", stepInput{limits: limits, attracts: true, stopping: true, grace: time.Second, left: -time.Second}, "sessions 0s, flush 0s"},
		{"stopping without a speaker", stepInput{limits: limits, attracts: true, stopping: true, grace: 20 * time.Second, left: 20 * time.Second},
			"sessions 20s, flush 20s"},
	}
	for _, test := range tests {
		if got := wants(test.input); got != test.want {
			t.Errorf("%s: %s; want %s", test.name, got, test.want)
		}
	}
}

func peer(address, state string, confirmed bool) api.SpeakerPeer {
	return api.SpeakerPeer{Address: netip.MustParseAddr(address), State: state, Confirmed: confirmed}
}

func TestRoutesNote(t *testing.T) {
	out := api.DesiredState{Routes: api.Withdrawn, Keep: true}
	type status = api.SpeakerStatus
	tests := []struct {
		name   string
		answer api.Neighbour[status]
		wanted api.DesiredState
		want   string
	}{
		{"nothing heard", api.Neighbour[status]{}, out, "the speaker has not answered yet"},
		{"no answer any more", api.Neighbour[status]{Problem: "gone", Status: &status{Desired: out}}, out, "gone"},
		{"not ordered", api.Neighbour[status]{Status: &status{}}, out, `the speaker has not taken the command "withdrawn"`},
		{"not kept", api.Neighbour[status]{Status: &status{Desired: api.DesiredState{Routes: api.Withdrawn}}}, out,
			`the speaker has not taken the command "withdrawn"`},
		{"kept, though it need not be", api.Neighbour[status]{Status: &status{Desired: out, Routes: api.Withdrawn}},
			api.DesiredState{Routes: api.Withdrawn}, ""},
		{"graceful", api.Neighbour[status]{Status: &status{Desired: api.DesiredState{Routes: api.Graceful}, Routes: api.Graceful}},
			api.DesiredState{Routes: api.Graceful}, ""},
		{"still there", api.Neighbour[status]{Status: &status{Desired: out, Routes: api.Announced, Reason: "stuck"}}, out,
			"the routes are still announced: stuck"},
		{"no peer is there", api.Neighbour[status]{Status: &status{Desired: out, Routes: api.Withdrawn, Peers: []api.SpeakerPeer{
			peer("192.0.2.1", "Idle", false)}}}, out, ""},
		{"two do not answer", api.Neighbour[status]{Status: &status{Desired: out, Routes: api.Withdrawn, Peers: []api.SpeakerPeer{
			peer("192.0.2.1", "Established", false), peer("192.0.2.2", "Established", true), peer("2001:db8::1", "Established", false)}}}, out,
			"not acknowledged by 192.0.2.1, 2001:db8::1"},
	}
	for _, test := range tests {
		if got := routesNote(&test.answer, &test.wanted); got != test.want {
			t.Errorf("%s: %q; want %q", test.name, got, test.want)
		}
	}
}

func TestFlushNote(t *testing.T) {
	paused := []queue.Paused{{Cause: errors.New("core is away")}}
	tests := []struct {
		left queue.Stats
		want string
	}{
		{queue.Stats{}, ""},
		{queue.Stats{Waiting: 1}, "1 message is left"},
		{queue.Stats{Held: 2}, "2 messages are left, on hold"},
		{queue.Stats{Held: 2, Waiting: 3, Active: 1}, "6 messages are left, 2 of them on hold"},
		{queue.Stats{Waiting: 3, Paused: paused}, "3 messages are left: core is away"},
		{queue.Stats{Waiting: 3, Held: 1, Paused: paused}, "4 messages are left, 1 of them on hold: core is away"},
	}
	for _, test := range tests {
		if got := flushNote(&test.left); got != test.want {
			t.Errorf("%+v: %q; want %q", test.left, got, test.want)
		}
	}
	if got := []string{cutNote(0), cutNote(1), cutNote(2)}; !slices.Equal(got, []string{"", "1 session was cut", "2 sessions were cut"}) {
		t.Error(got)
	}
	var pauses []time.Duration
	for p := flushPause; p < flushPauseMax; p = nextFlush(p) {
		pauses = append(pauses, p/time.Second)
	}
	if !slices.Equal(pauses, []time.Duration{1, 2, 4, 8}) || nextFlush(flushPauseMax) != flushPauseMax {
		t.Error(pauses)
	}
}

func TestShortReason(t *testing.T) {
	long := strings.Repeat("ü", 150)
	for reason, want := range map[string]string{"": "drain", "new disks": "new disks", long: long[:200], "x" + long: "x" + long[:198]} {
		if got := shortReason(reason); got != want {
			t.Errorf("%q: %q", reason, got)
		}
	}
}
