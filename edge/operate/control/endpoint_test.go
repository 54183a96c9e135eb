package control_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

// serveEndpoint runs e on a socket and a TCP listener until the test ends or stop
// is called.
func serveEndpoint(t *testing.T, e *control.Endpoint) (socket, url string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "x.sock")
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx, l, tcp) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return socket, "http://" + tcp.Addr().String(), stop
}

// An endpoint serves what was added to it, and the monitoring endpoints on both listeners.
func TestEndpoint(t *testing.T) {
	registry := prometheus.NewRegistry()
	var log bytes.Buffer
	var notReady error
	e, err := control.NewEndpoint(control.EndpointOptions{
		Gather: registry, Metrics: registry, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Ready: func(context.Context) error { return notReady },
	})
	if err != nil {
		t.Fatal(err)
	}
	notReady = errors.New("no session")
	e.Handle("POST /v1/double", func(r *http.Request) (any, error) {
		var in struct {
			N int `json:"n"`
		}
		err := control.ReadJSON(r, &in)
		e.Audit(r, err, "action", "double")
		return map[string]int{"n": 2 * in.N}, err
	})
	e.Handle("GET /v1/broken", func(*http.Request) (any, error) { return nil, errors.New("a bug") })
	e.Handle("GET /v1/late", func(*http.Request) (any, error) { return nil, context.DeadlineExceeded })
	e.HandlePage("GET /{$}", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("a page")) }))
	socket, url, stop := serveEndpoint(t, e)
	unix := overUnix(t, socket)
	tcp := &http.Client{Transport: &http.Transport{}}
	defer tcp.CloseIdleConnections()
	for _, tt := range []struct {
		c                 *http.Client
		method, url, body string
		status            int
		want              string
	}{
		{unix, "POST", "http://x/v1/double", `{"n":21}`, 200, `{"n":42}`},
		{unix, "POST", "http://x/v1/double", `{"m":21}`, 400, `"code":"bad_request"`},
		{unix, "POST", "http://x/v1/double", strings.Repeat(" ", 64<<10) + `{}`, 413, `"code":"too_large"`},
		{unix, "GET", "http://x/v1/broken", "", 500, `{"error":"a bug","code":"internal"}`},
		{unix, "GET", "http://x/v1/late", "", 503, `"code":"unavailable"`},
		{unix, "GET", "http://x/v1/status", "", 404, `"code":"no_route"`},
		{unix, "GET", "http://x/", "", 404, `"code":"no_route"`},
		{unix, "GET", "http://x/readyz", "", 503, "not ready: no session\n"},
		{unix, "GET", "http://x/healthz", "", 200, "alive\n"},
		{unix, "GET", "http://x/metrics", "", 200, `anymx_control_requests_total{code="200",route="POST /v1/double"} 1`},
		{tcp, "GET", url + "/", "", 200, "a page"},
		{tcp, "GET", url + "/metrics", "", 200, "anymx_control_connections_limit"},
		{tcp, "GET", url + "/readyz", "", 503, "not ready: no session\n"},
		{tcp, "POST", url + "/v1/double", `{"n":21}`, 404, ""},
	} {
		status, _, body := ask(t, tt.c, tt.method, tt.url, tt.body)
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s\nwant %d and %s", tt.method, tt.url, status, body, tt.status, tt.want)
		}
	}
	stop() // completes the log
	for _, want := range []string{`msg="control request" action=double uid=`, `msg="control request refused" action=double`, `err="a bug"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not hold %s:\n%s", want, log.String())
		}
	}
}

func TestEndpointWithoutOptionsIsReady(t *testing.T) {
	e, err := control.NewEndpoint(control.EndpointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	socket, _, _ := serveEndpoint(t, e)
	if status, _, body := ask(t, overUnix(t, socket), "GET", "http://x/readyz", ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestSpeakerClient(t *testing.T) {
	speaker := &controltest.Speaker{State: controltest.SpeakerStatus()}
	c := control.NewSpeakerClient(controltest.StartSpeaker(t, speaker))
	defer c.Close()
	got, err := c.Status(t.Context())
	if want := controltest.SpeakerStatus(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	order := api.DesiredState{Routes: api.Withdrawn, Reason: "kernel update", Keep: true}
	got, err = c.SetDesired(t.Context(), order)
	if err != nil || got.Desired != order || got.Routes != api.Withdrawn || !reflect.DeepEqual(speaker.Orders(), []api.DesiredState{order}) {
		t.Errorf("%v: %+v", err, got)
	}
	speaker = &controltest.Speaker{OrderErr: &api.Error{Code: api.BadRequest, Text: "no"}}
	refusing := control.NewSpeakerClient(controltest.StartSpeaker(t, speaker))
	defer refusing.Close()
	var e *api.Error
	if _, err := refusing.SetDesired(t.Context(), order); !errors.As(err, &e) || e.Code != api.BadRequest {
		t.Errorf("%v", err)
	}
}

func TestNetworkClient(t *testing.T) {
	want := controltest.NetworkStatus()
	c := control.NewNetworkClient(controltest.StartNetwork(t, want))
	defer c.Close()
	if got, err := c.Status(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}

// The requests and answers of the shield commands survive the trip to anymx-net and back.
func TestShieldClient(t *testing.T) {
	fake := controltest.ShieldNetwork()
	before := len(fake.Entries)
	c := control.NewNetworkClient(fake.Start(t))
	defer c.Close()
	top, err := c.ShieldTop(t.Context(), 1)
	if err != nil || !reflect.DeepEqual(top.Noisy, fake.Top.Noisy[:1]) || !reflect.DeepEqual(top.Openers, fake.Top.Openers[:1]) {
		t.Errorf("top: %+v, %v", top, err)
	}
	e := api.ShieldEntry{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Until: controltest.Now, Reason: "why"}
	listed, err := c.ShieldList(t.Context(), e)
	if e.Source = "command"; err != nil || listed != e {
		t.Errorf("listed %+v, %v; want %+v", listed, err, e)
	}
	entries, err := c.ShieldLists(t.Context())
	if err != nil || len(entries) != before+1 || entries[before] != e {
		t.Errorf("lists: %+v, %v", entries, err)
	}
	for _, want := range []bool{true, false} {
		if removed, err := c.ShieldUnlist(t.Context(), e.Prefix); err != nil || removed != want {
			t.Errorf("removed: %v, %v; want %v", removed, err, want)
		}
	}
	s, err := c.ShieldMode(t.Context(), api.ShieldMode{Mode: "generic"})
	if err != nil || s.Shield.Mode != "generic" || s.Shield.Interfaces[0].Mode != "generic" || s.PID == 0 {
		t.Errorf("mode: %+v, %v", s, err)
	}
	fake.Broken = &api.Error{Code: api.Unavailable, Text: "not loaded"}
	_, topErr := c.ShieldTop(t.Context(), 1)
	_, listErr := c.ShieldList(t.Context(), e)
	_, listsErr := c.ShieldLists(t.Context())
	_, unlistErr := c.ShieldUnlist(t.Context(), e.Prefix)
	_, modeErr := c.ShieldMode(t.Context(), api.ShieldMode{Mode: "off"})
	for what, err := range map[string]error{"top": topErr, "list": listErr, "lists": listsErr, "unlist": unlistErr, "mode": modeErr} {
		var refused *api.Error
		if !errors.As(err, &refused) || refused.Text != "not loaded" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The error of a program that does not answer names it.
func TestNeighboursUnreachable(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	speaker, network := control.NewSpeakerClient(none), control.NewNetworkClient(none)
	defer speaker.Close()
	defer network.Close()
	_, speakerErr := speaker.Status(t.Context())
	_, orderErr := speaker.SetDesired(t.Context(), api.DesiredState{Routes: api.Announced})
	_, networkErr := network.Status(t.Context())
	for err, want := range map[error]string{
		speakerErr: "no anymx-bgp answers on " + none + ": there is no such socket. Is anymx-bgp running (systemctl status anymx-bgp)?",
		orderErr:   "no anymx-bgp answers on " + none + ": there is no such socket. Is anymx-bgp running (systemctl status anymx-bgp)?",
		networkErr: "no anymx-net answers on " + none + ": there is no such socket. Is anymx-net running (systemctl status anymx-net)?",
	} {
		var u *control.Unreachable
		if !errors.As(err, &u) || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestClientDrains(t *testing.T) {
	n := controltest.New()
	c := start(t, n)
	want := api.DrainRequest{Reason: "kernel update", Now: true}
	s, err := c.Drain(t.Context(), want)
	if err != nil || s.Phase != api.Draining || s.Drain == nil || s.Drain.Reason != want.Reason || !s.Ready.OK {
		t.Errorf("drain: %v: %+v", err, s)
	}
	if len(n.Orders) != 1 || n.Orders[0] != want {
		t.Errorf("the node was asked for %+v", n.Orders)
	}
	s, err = c.Resume(t.Context())
	if err != nil || s.Phase != api.Running || s.Drain != nil || n.Resumes != 1 {
		t.Errorf("resume: %v: %+v", err, s)
	}
	n.DrainErr = &api.Error{Code: api.Unavailable, Text: "the node is stopping"}
	_, drainErr := c.Drain(t.Context(), want)
	_, resumeErr := c.Resume(t.Context())
	for _, err := range []error{drainErr, resumeErr} {
		var e *api.Error
		if !errors.As(err, &e) || e.Code != api.Unavailable {
			t.Errorf("%v", err)
		}
	}
}
