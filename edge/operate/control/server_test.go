package control_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
)

// overUnix returns an HTTP client that is independent of package control.
func overUnix(t *testing.T, socket string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask sends a request and returns status, headers and body.
func ask(t *testing.T, c *http.Client, method, url, body string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func TestRequests(t *testing.T) {
	first, gone := controltest.ID(1).String(), controltest.ID(99).String()
	many := `{"ids":["` + first + strings.Repeat(`","`+first, api.MaxPage) + `"]}`
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v1/status", "", 200, `"phase":"running"`},
		{"GET", "/v1/status", "", 200, `"ready":{"ok":true}`},
		{"GET", "/v1/version", "", 200, `"go":"go1.`},
		{"GET", "/v1/queue", "", 200, `{"items":[{"id":"` + first},
		{"GET", "/v1/queue?state=held", "", 200, `"hold_reason":"looked at by abuse desk"`},
		{"GET", "/v1/queue?sender=%3C%3E&state=active", "", 200, `{"items":[]}`},
		{"GET", "/v1/queue?limit=2", "", 200, `"next":"` + controltest.ID(2).String() + `"`},
		{"GET", "/v1/queue?limit=0", "", 400, `"code":"bad_request"`},
		{"GET", "/v1/queue?stat=held", "", 400, `parameter \"stat\": unknown`},
		{"GET", "/v1/queue/" + first, "", 200, `"progress":"delivered"`},
		{"GET", "/v1/queue/" + gone, "", 404, `"code":"not_found"`},
		{"GET", "/v1/queue/ILOU", "", 400, `not a spool id`},
		{"POST", "/v1/queue/flush", `{"ids":["` + first + `"]}`, 200, `"messages":[{"id":"` + first},
		{"POST", "/v1/queue/flush", `{"ids":["` + gone + `"]}`, 200, `{"messages":[],"pending":[],"refused":[{"id":"` + gone + `","code":"not_found"`},
		{"POST", "/v1/queue/flush", `{"all":true,"state":"waiting","limit":1}`, 200, `"next":"` + first + `"`},
		{"POST", "/v1/queue/flush", `{"all":true,"sender":"nobody@example.org"}`, 200, `{"messages":[],"pending":[],"refused":[]}`},
		{"POST", "/v1/queue/flush", `{}`, 400, `give \"ids\", or \"all\": true`},
		{"POST", "/v1/queue/flush", ``, 400, `not the JSON that was expected`},
		{"POST", "/v1/queue/flush", `{"ids":["` + first + `"],"all":true}`, 400, `give either`},
		{"POST", "/v1/queue/flush", `{"ids":["` + first + `"],"state":"held"}`, 400, `go with \"all\"`},
		{"POST", "/v1/queue/flush", `{"ids":["` + first + `"],"reason":"x"}`, 400, `a reason goes with hold alone`},
		{"POST", "/v1/queue/hold", `{"ids":["` + first + `"],"reason":"a\u001b[2Jb"}`, 400, `control characters`},
		{"POST", "/v1/queue/hold", `{"ids":["` + first + `"],"reason":"` + strings.Repeat("x", 201) + `"}`, 400, `at most 200`},
		{"POST", "/v1/queue/flush", `{"all":true,"state":"frozen"}`, 400, `want active, waiting or held`},
		{"POST", "/v1/queue/flush", `{"all":true,"limit":-1}`, 400, `not a number of messages`},
		{"POST", "/v1/queue/flush", `{"all":true,"stat":"held"}`, 400, `unknown field`},
		{"POST", "/v1/queue/flush", `{"all":true} {"all":true}`, 400, `more than one JSON value`},
		{"POST", "/v1/queue/flush", many, 400, `1001 ids in one request; at most 1000`},
		{"POST", "/v1/queue/flush", strings.Repeat(" ", 64<<10) + `{"all":true}`, 413, `"code":"too_large"`},
		{"POST", "/v1/queue/burn", `{"all":true}`, 404, `"code":"no_route"`},
		{"POST", "/v1/reload", "", 200, `{"changed":["ingress.max_connections"],"restart":[]}`},
		{"POST", "/v1/drain", `{}`, 200, `"phase":"draining"`},
		{"POST", "/v1/drain", `{"reason":"kernel update","now":true}`, 200, `"reason":"kernel update"`},
		{"POST", "/v1/drain", ``, 400, `not the JSON that was expected`},
		{"POST", "/v1/drain", `{"wait":"5m"}`, 400, `unknown field`},
		{"POST", "/v1/drain", `{"reason":"a\u001b[2Jb"}`, 400, `control characters`},
		{"POST", "/v1/drain", `{"reason":"` + strings.Repeat("x", 201) + `"}`, 400, `at most 200`},
		{"POST", "/v1/resume", "", 200, `"phase":"running"`},
		{"POST", "/v1/resume", `{}`, 200, `"phase":"running"`},
		{"GET", "/v1/drain", "", 404, `"code":"no_route"`},
		{"POST", "/v1/desired", `{"routes":"withdrawn"}`, 404, `"code":"no_route"`},
		{"GET", "/v1/reload", "", 404, `"code":"no_route"`},
		{"DELETE", "/v1/queue/" + first, "", 404, `does not know the request DELETE`},
		{"GET", "/v2/status", "", 404, `"code":"no_route"`},
		{"GET", "/", "", 404, `"code":"no_route"`},
		{"GET", "/healthz", "", 200, "alive\n"},
		{"HEAD", "/healthz", "", 200, ""},
		{"GET", "/readyz", "", 200, "ready\n"},
		{"GET", "/metrics", "", 200, `anymx_control_requests_total{code="200",route="GET /v1/status"}`},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			socket, _ := controltest.Start(t, controltest.New(), false)
			c := overUnix(t, socket)
			ask(t, c, "GET", "http://node/v1/status", "") // gives /metrics something to show
			status, h, body := ask(t, c, tt.method, "http://node"+tt.path, tt.body)
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("%d %s\nwant %d and %s", status, body, tt.status, tt.want)
			}
			if strings.HasPrefix(tt.path, "/v") && !json.Valid([]byte(body)) {
				t.Errorf("not JSON: %s", body)
			}
			if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers: %v", h)
			}
		})
	}
}

func TestNotReady(t *testing.T) {
	n := controltest.New()
	n.ReadyErr = fmt.Errorf("spool: the disk\nis full")
	socket, url := controltest.Start(t, n, true)
	for _, where := range []struct {
		c   *http.Client
		url string
	}{{overUnix(t, socket), "http://node"}, {http.DefaultClient, url}} {
		status, _, body := ask(t, where.c, "GET", where.url+"/readyz", "")
		if want := "not ready: spool: the disk; is full\n"; status != 503 || body != want {
			t.Errorf("readyz: %d %q", status, body)
		}
		if status, _, _ := ask(t, where.c, "GET", where.url+"/healthz", ""); status != 200 {
			t.Errorf("healthz: %d", status)
		}
	}
	_, _, body := ask(t, overUnix(t, socket), "GET", "http://node/v1/status", "")
	if want := `"ready":{"ok":false,"reason":"spool: the disk\nis full"}`; !strings.Contains(body, want) {
		t.Errorf("%s does not hold %s", body, want)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestReloadErrors(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		want   string
	}{
		{fmt.Errorf("reload: %w", &config.Errors{Problems: []config.Problem{{File: "/etc/anymx/anymx.toml", Line: 7, Column: 1, Key: "core.adresses", Reason: "unknown key"}}}),
			422, `{"error":"the config has 1 problem; nothing was changed","code":"invalid_config","problems":[{"file":"/etc/anymx/anymx.toml","line":7,"column":1,"key":"core.adresses","reason":"unknown key"}]}`},
		{fmt.Errorf("reload: %w", &api.Error{Code: api.Unavailable, Text: "the node is stopping"}), 503, `{"error":"the node is stopping","code":"unavailable"}`},
		{fmt.Errorf("permission denied"), 422, `{"error":"nothing was changed: permission denied","code":"invalid_config"}`},
		{fmt.Errorf("reload: %w", context.DeadlineExceeded), 503, `"code":"unavailable"`},
	} {
		n := controltest.New()
		n.ReloadErr = tt.err
		socket, _ := controltest.Start(t, n, false)
		status, _, body := ask(t, overUnix(t, socket), "POST", "http://node/v1/reload", "")
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%v: %d %s", tt.err, status, body)
		}
	}
}

// The TCP listener shows only what its clients may see, and changes nothing.
func TestMetricsListener(t *testing.T) {
	_, url := controltest.Start(t, controltest.New(), true)
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"GET", "/metrics", 200}, {"GET", "/healthz", 200}, {"GET", "/readyz", 200},
		{"POST", "/", 405}, {"POST", "/readyz", 405},
		{"GET", "/v1/status", 404}, {"GET", "/v1/queue", 404}, {"POST", "/v1/reload", 404}, {"POST", "/v1/drain", 404}, {"POST", "/v1/queue/delete", 404}, {"GET", "/x", 404},
	} {
		if status, _, body := ask(t, c, tt.method, url+tt.path, ""); status != tt.status {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, status, body)
		}
	}
}
