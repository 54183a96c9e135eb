package anycast

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/tests/kit"
)

// start runs an announcer until the test ends, or stop is called, which returns its error.
func start(t *testing.T, more string) (speaker *control.SpeakerClient, reload chan<- struct{}, dir string, stop func() error) {
	t.Helper()
	kit.NeedNamespace(t)
	env := testEnv(t, more)
	reloads := make(chan struct{}, 1)
	env.Reload = reloads
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, env) }()
	stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	speaker = control.NewSpeakerClient(env.Config.BGP.Control)
	t.Cleanup(func() { speaker.Close(); _ = stop() })
	kit.Eventually(t, "the speaker has its peer", func() bool {
		select {
		case err := <-ended:
			t.Fatal("ended:", err)
		default:
		}
		s, err := speaker.Status(t.Context())
		return err == nil && len(s.Peers) == 1
	})
	return speaker, reloads, filepath.Dir(env.File), stop
}

// get requests a page from the control socket.
func get(t *testing.T, socket, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("http://anymx" + path)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, kit.ReadBody(t, response)
}

func TestRun(t *testing.T) {
	speaker, reload, dir, stop := start(t, "")
	socket := filepath.Join(dir, "bgp.sock")
	var s api.SpeakerStatus
	status := func(good func() bool) {
		t.Helper()
		kit.Eventually(t, "the status that is expected", func() (ok bool) {
			var err error
			s, err = speaker.Status(t.Context())
			return err == nil && good()
		})
	}
	status(func() bool { return strings.Contains(s.Reason, "not healthy: ") && len(s.Health.Checks) == 5 })
	if s.Routes != api.Withdrawn || s.Health.Up || s.ASN != 64512 || s.Config.File == "" || s.Peers[0].State == "" || !s.DesiredAt.IsZero() {
		t.Errorf("%+v", s)
	}

	_, page := get(t, socket, "/metrics")
	for _, want := range []string{
		`anymx_bgp_routes{routes="withdrawn"} 1`, `anymx_bgp_routes{routes="announced"} 0`,
		"anymx_bgp_prefixes_announced 0", "anymx_bgp_healthy 0",
		`anymx_bgp_check_ok{check="readyz",decides="true"} 0`, `anymx_bgp_check_ok{check="net",decides="false"} 0`,
		`anymx_bgp_checks_total{check="readyz",outcome="bad"} `, `anymx_bgp_check_duration_seconds_count{check="smtp 192.0.2.25:25"} `,
		`anymx_bgp_rounds_total{outcome="bad"} `,
		`anymx_bgp_peer_state{peer="198.51.100.1",state="Established"} 0`, `anymx_bgp_peer_dials_total{peer="198.51.100.1"} `,
		`anymx_bgp_notifications_total{code="6",direction="received",peer="198.51.100.1"} 0`,
		`anymx_bgp_messages_total{direction="sent",peer="198.51.100.1",type="open"} `,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
	if code, text := get(t, socket, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "routes are withdrawn: not healthy") {
		t.Errorf("%d %s", code, text)
	}
	if code, _ := get(t, socket, "/healthz"); code != http.StatusOK {
		t.Errorf("%d", code)
	}

	// A reload applies what is valid, and says what waits for a restart.
	file := filepath.Join(dir, "anymx.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(old, new string) {
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		reload <- struct{}{}
	}
	write("asn = 64500", "asn = 0")
	status(func() bool { return strings.Contains(s.Config.Problem, "bgp.peer[0].asn") })
	write(`"192.0.2.25:8025"]`, `"192.0.2.25:2025"]`)
	status(func() bool {
		return s.Config.Problem == "" && len(s.Config.Restart) == 0 && s.Health.Checks[2].Name == "smtp 192.0.2.25:2025"
	})
	write("asn = 64512", "asn = 64513")
	status(func() bool { return len(s.Config.Restart) == 1 && s.Config.Restart[0] == "bgp.asn" && s.ASN == 64512 })

	if _, err := speaker.SetDesired(t.Context(), api.DesiredState{Routes: api.Withdrawn, Keep: true}); err != nil {
		t.Error(err)
	}
	var refused *api.Error
	if _, err := speaker.SetDesired(t.Context(), api.DesiredState{Routes: "up"}); !errors.As(err, &refused) || refused.Code != api.BadRequest {
		t.Errorf("%v", err)
	}

	// Two of them can't run.
	again := testEnv(t, "")
	again.Config.BGP.Control = socket
	if err := Run(t.Context(), again); !errors.Is(err, control.ErrSocketLive) {
		t.Errorf("%v", err)
	}
	began := time.Now()
	if err := stop(); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

// A speaker runs without parts that routes do not need, says so, and picks them up when they
// appear.
func TestRunDegraded(t *testing.T) {
	kit.NeedNamespace(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	env := testEnv(t, "[[bgp.peer]]\naddress = \"198.51.100.9\"\nasn = 64500\n")
	dir := filepath.Dir(env.File)
	env.Config.BGP.Metrics = taken.Addr().String()
	password := filepath.Join(dir, "password")
	env.Config.BGP.Peers[0].PasswordFile = password
	env.Config.Node.StateDir = filepath.Join(dir, "state")
	if err := os.WriteFile(env.Config.Node.StateDir, nil, 0o600); err != nil { // no directory can be created there
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, env) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	speaker := control.NewSpeakerClient(env.Config.BGP.Control)
	t.Cleanup(speaker.Close)
	degraded := func(want string) api.SpeakerStatus {
		t.Helper()
		var s api.SpeakerStatus
		kit.Eventually(t, "degraded: "+want, func() bool {
			var err error
			s, err = speaker.Status(t.Context())
			var parts []string
			for _, d := range s.Degraded {
				parts = append(parts, d.Part)
			}
			return err == nil && len(s.Peers) == 2 && strings.Join(parts, " ") == want
		})
		return s
	}
	s := degraded("metrics password state")
	if p := s.Peers[0]; p.State != "Idle" || !strings.Contains(p.LastError, "password: ") || !strings.Contains(p.LastError, "it is not dialled without") {
		t.Errorf("a router without its password: %+v", p)
	}
	if _, text := get(t, env.Config.BGP.Control, "/metrics"); !strings.Contains(text, `anymx_degraded{part="password"} 1`) ||
		!strings.Contains(text, `anymx_bgp_peer_state{peer="198.51.100.1",state="Idle"} 1`) {
		t.Errorf("metrics: %s", text)
	}
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := degraded("metrics state"); s.Peers[0].LastError != "" && strings.Contains(s.Peers[0].LastError, "password") {
		t.Errorf("with its password: %+v", s.Peers[0])
	}
	if err := errors.Join(os.Remove(env.Config.Node.StateDir), taken.Close()); err != nil {
		t.Fatal(err)
	}
	degraded("")
	if _, err := os.Stat(filepath.Join(env.Config.Node.StateDir, "bgp")); err != nil {
		t.Error(err)
	}
}

// A second speaker of the same node fails.
func TestRunFails(t *testing.T) {
	env := testEnv(t, "")
	first, err := control.Listen(env.Config.BGP.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := Run(t.Context(), env); !errors.Is(err, control.ErrSocketLive) {
		t.Errorf("%v", err)
	}
}
