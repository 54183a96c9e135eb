package anycast

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/api"
)

func announced(s *api.SpeakerStatus) bool { return s.Routes == api.Announced }
func withdrawn(s *api.SpeakerStatus) bool { return s.Routes == api.Withdrawn }

// A node is announced once it is healthy, withdrawn when its mail
// program is killed, and announced again when that is back: all within one
// session.
func TestDeathOfTheEdge(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}})
	n.startBGP()
	n.logged("peer=127.0.0.2", "session up")
	s := n.status("no edge", func(s *api.SpeakerStatus) bool { return strings.Contains(s.Reason, "readyz: connect") })
	if s.Routes != api.Withdrawn || s.Health.Up || !strings.HasPrefix(s.Reason, "not healthy: ") {
		t.Errorf("without an edge: %+v", s)
	}
	n.startEdge()
	r.await(long, prefix4, prefix6)
	s = n.status("announced", func(s *api.SpeakerStatus) bool {
		confirmed, established := s.Confirmed()
		return announced(s) && confirmed == 1 && established == 1
	})
	if !s.Health.Up || s.Reason != "healthy" || len(s.Peers[0].Advertised) != 2 || s.ASN != nodeASN || s.PID != n.bgp.PID() {
		t.Errorf("announced: %+v", s)
	}
	var names []string
	for _, c := range s.Health.Checks {
		names = append(names, c.Name)
		if !c.Information && (!c.OK || c.Took <= 0 || c.At.IsZero()) {
			t.Errorf("%+v", c)
		}
	}
	want := []string{"readyz", "smtp 192.0.2.25:25", "smtp 192.0.2.25:8025", "smtp [2001:db8:25::25]:25", "smtp [2001:db8:25::25]:8025", "net"}
	if !slices.Equal(names, want) {
		t.Errorf("checks %q, want %q", names, want)
	}
	n.logged("routes changed", "from=withdrawn to=announced reason=healthy", "peers=1")
	n.logged("peers confirmed", "routes=announced", "took=")

	killed := time.Now()
	n.edge.Kill()
	gone := r.await(long)
	t.Logf("gone from the router's table %s after kill -9", gone.Sub(killed).Round(time.Millisecond))
	if gone.Sub(killed) > 3*time.Second {
		t.Errorf("the routes were gone only after %s", gone.Sub(killed))
	}
	n.logged("routes changed", "from=announced to=withdrawn", ": connect: connection refused")

	n.startEdge()
	r.await(long, prefix4, prefix6)
	if state := r.session(); state.Messages.Received.Open != 1 || state.Messages.Received.Notification != 0 {
		t.Errorf("the session was not left alone: %+v", state.Messages.Received)
	}
}

// If the speaker itself is killed, the session drops at once.
func TestDeathOfTheSpeaker(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}})
	n.start()
	r.await(long, prefix4, prefix6)
	killed := time.Now()
	n.bgp.Kill()
	if took := r.await(long).Sub(killed); took > 3*time.Second {
		t.Errorf("the routes were gone only after %s", took)
	}
	n.startBGP()
	r.await(long, prefix4, prefix6)
}

// A service address that answers no mail withdraws the node, whatever /readyz
// says; and so does an edge that hangs, after the time that answers may take.
func TestWhatCountsAsDown(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}, health: `timeout = "1s"`})
	n.start()
	r.await(long, prefix4, prefix6)

	address(t, service6, false)
	r.await(long)
	s := n.status("withdrawn", withdrawn)
	if !strings.Contains(s.Reason, "smtp [2001:db8:25::25]:") || !strings.Contains(s.Reason, "this host does not have the service address") {
		t.Errorf("reason %q", s.Reason)
	}
	address(t, service6, true)
	r.await(long, prefix4, prefix6)

	stopped := time.Now()
	n.edge.Signal(syscall.SIGSTOP)
	gone := r.await(long)
	n.edge.Signal(syscall.SIGCONT)
	if took := gone.Sub(stopped); took < time.Second {
		t.Errorf("a hang of %s was enough", took)
	}
	n.logged("from=announced to=withdrawn", "timeout")
	r.await(long, prefix4, prefix6)
}

// Clients that take every place again and again don't make a node busy: the speaker's probe always has
// one.
func TestFullIsHealthy(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}, ingress: "max_connections = 20\nmax_connections_per_prefix = 20"})
	n.start()
	r.await(long, prefix4, prefix6)
	since := r.since(prefix4, prefix6)
	for last, rounds := (time.Time{}), 0; rounds < 5; {
		crowd(t, "127.0.0.1:25", 20)
		s := n.status("healthy", func(*api.SpeakerStatus) bool { return true })
		for _, check := range s.Health.Checks {
			if !check.Information && !check.OK || !s.Health.Up {
				t.Fatalf("while all places are taken: %+v", s.Health)
			}
		}
		if at := s.Health.Checks[0].At; at.After(last) {
			last = at
			rounds++
		}
	}
	if strings.Contains(n.bgp.Log(), "busy") {
		t.Errorf("a probe was refused:\n%s", n.bgp.Log())
	}
	if r.since(prefix4, prefix6) != since {
		t.Error("the routes have changed")
	}
}

// A node that answers its speaker with 421 is busy, and stays announced for a time.
func TestBusy(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}})
	edge := newStandIn(t, n)
	n.startBGP()
	r.await(long, prefix4, prefix6)
	edge.full.Store(true)
	s := n.awaitBusy()
	n.logged("node is busy")
	if !s.Health.Up || s.Routes != api.Announced {
		t.Errorf("a busy node: %+v", s)
	}
	r.await(long, prefix4, prefix6)
}

// Orders bound what is announced; one that is kept survives the speaker.
func TestKeptOrders(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}})
	n.start()
	r.await(long, prefix4, prefix6)
	file := filepath.Join(n.dir, "state", "bgp", "order.json")

	s := n.order(api.DesiredState{Routes: api.Graceful, Reason: "new kernel", Keep: true})
	if s.Routes != api.Graceful || s.Reason != "by command: new kernel" {
		t.Errorf("%+v", s)
	}
	r.await(long, prefix4+graceful, prefix6+graceful)
	s = n.order(api.DesiredState{Routes: api.Withdrawn, Reason: "new kernel", Keep: true})
	if s.Routes != api.Withdrawn || s.Desired.Routes != api.Withdrawn || s.DesiredAt.IsZero() {
		t.Errorf("%+v", s)
	}
	r.await(long)
	n.logged("control request", "action=desired", "routes=withdrawn", `reason="new kernel"`, "uid=0")

	n.bgp.Kill()
	n.startBGP()
	s = n.status("healthy", func(s *api.SpeakerStatus) bool { return s.Health.Up })
	if s.Routes != api.Withdrawn || s.Desired.Reason != "new kernel" || !s.Desired.Keep {
		t.Errorf("after a kill: %+v", s)
	}
	s = n.order(api.DesiredState{Routes: api.Announced})
	if s.Routes != api.Withdrawn || s.Desired.Routes != api.Announced || s.Health.Up {
		t.Errorf("resumed without a new proof of health: %+v", s)
	}
	r.await(long, prefix4, prefix6)
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file of an order that ended: %v", err)
	}

	// A file that can't be read says that there was a drain.
	n.bgp.Kill()
	if err := os.WriteFile(file, []byte(`{"version":1,"order":{"rou`), 0o600); err != nil {
		t.Fatal(err)
	}
	n.startBGP()
	s = n.status("healthy", func(s *api.SpeakerStatus) bool { return s.Health.Up })
	if s.Routes != api.Withdrawn || !strings.Contains(s.Reason, "the desired state is unreadable") {
		t.Errorf("with a file that is cut: %+v", s)
	}
	n.logged("level=ERROR", "the desired state is unreadable", "order.json")
	n.order(api.DesiredState{Routes: api.Announced})
	r.await(long, prefix4, prefix6)

	if _, err := n.speaker.SetDesired(t.Context(), api.DesiredState{Routes: "up"}); err == nil {
		t.Error("routes that there are not were taken")
	}
}

// An order that is not kept ends when the node has been down and is healthy
// again, however short that was.
func TestPassingOrder(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	// One round in two seconds misses the restart.
	n := newNode(t, settings{routers: []string{"127.0.0.2"}, health: "interval = \"1s\"\nrise = 1"})
	n.start()
	r.await(long, prefix4, prefix6)
	n.order(api.DesiredState{Routes: api.Withdrawn, Reason: "anymx-edge is stopping"})
	r.await(long)
	n.edge.Kill()
	n.startEdge()
	r.await(long, prefix4, prefix6)
	n.logged("desired state ended")

	// It never allows more than an order that was kept.
	n.order(api.DesiredState{Routes: api.Withdrawn, Reason: "drained", Keep: true})
	n.order(api.DesiredState{Routes: api.Graceful, Reason: "anymx-edge is stopping"})
	n.edge.Kill()
	n.startEdge()
	n.logged("node is unhealthy")
	s := n.status("healthy", func(s *api.SpeakerStatus) bool { return s.Health.Up })
	if s.Routes != api.Withdrawn || s.Desired.Reason != "drained" {
		t.Errorf("%+v", s)
	}
	r.await(long)
}

// A reload takes the whole file or nothing, and touches no session that it does
// not have to.
func TestReload(t *testing.T) {
	r, second := newRouter(t, "127.0.0.2"), newRouter(t, "127.0.0.3")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}})
	n.start()
	r.await(long, prefix4, prefix6)

	n.write(settings{routers: []string{"127.0.0.2"}, peer: `communities = ["oops"]`})
	n.reload()
	s := n.status("a problem", func(s *api.SpeakerStatus) bool { return s.Config.Problem != "" })
	if !strings.Contains(s.Config.Problem, "bgp.peer[0].communities[0]") || s.Routes != api.Announced {
		t.Errorf("%+v %+v", s.Config, s)
	}
	n.write(settings{routers: []string{"127.0.0.2"}, peer: `password_file = "` + n.dir + `/none"`})
	n.reload()
	n.status("another problem", func(s *api.SpeakerStatus) bool { return strings.Contains(s.Config.Problem, "none") })

	n.write(settings{routers: []string{"127.0.0.2", "127.0.0.3"}})
	n.reload()
	second.await(long, prefix4, prefix6)
	n.status("no problem", func(s *api.SpeakerStatus) bool { return s.Config.Problem == "" && len(s.Peers) == 2 })

	n.write(settings{routers: []string{"127.0.0.2", "127.0.0.3"}, peer: `communities = ["64500:7"]`, prefixes: `"` + prefix4 + `", "2001:db8:25::/64"`})
	n.reload()
	for _, r := range []*router{r, second} {
		r.await(long, prefix4+" 64500:7", "2001:db8:25::/64 64500:7")
	}
	n.write(settings{routers: []string{"127.0.0.2"}})
	n.reload()
	second.await(long)
	r.await(long, prefix4, prefix6)
	for router, opens := range map[*router]uint64{r: 1, second: 1} {
		if m := router.session().Messages.Received; m.Open != opens {
			t.Errorf("router %s has seen %+v", router.address, m)
		}
	}
	n.logged("msg=reloaded", `changed="[anycast.prefixes bgp.peer]"`)
}

// A speaker that is told to end has the traffic moved away first.
func TestStop(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}, grace: "8s", drain: `graceful = "600ms"`})
	n.start()
	r.await(long, prefix4, prefix6)
	if code := n.bgp.Stop(long); code != 0 {
		t.Errorf("exit code %d\n%s", code, n.bgp.Tail(20))
	}
	gone, began := r.await(long), r.since(prefix4+graceful, prefix6+graceful)
	if took := gone.Sub(began); took < 500*time.Millisecond || took > 5*time.Second {
		t.Errorf("graceful for %s", took)
	}
	if m := r.session().Messages.Received; m.Notification != 1 {
		t.Errorf("the router has seen %+v", m)
	}
	n.logged("from=announced to=graceful", "anymx-bgp is stopping")
	n.logged("from=graceful to=withdrawn", "anymx-bgp is stopping")
	n.logged("msg=stopped")

	// With nothing announced there is nothing to wait for.
	n.edge.Kill()
	n.write(settings{routers: []string{"127.0.0.2"}, grace: "80s", drain: `graceful = "20s"`})
	n.startBGP()
	n.logged("session up")
	before := time.Now()
	if code := n.bgp.Stop(long); code != 0 || time.Since(before) > 5*time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(before))
	}
}

// A second signal ends it at once.
func TestSecondSignal(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}, grace: "80s", drain: `graceful = "20s"`})
	n.start()
	r.await(long, prefix4, prefix6)
	n.bgp.Signal(syscall.SIGTERM)
	r.await(long, prefix4+graceful, prefix6+graceful)
	if code := n.bgp.Stop(long); code != -1 {
		t.Errorf("exit code %d, want a death by signal", code)
	}
	r.await(long)
}
