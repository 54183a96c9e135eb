package provision

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/tests/kit"
)

func TestServeTrouble(t *testing.T) {
	n := newNode(t)
	n.esp(with(goodFiles(), "anymx.toml", edit(t, "hostname", "hostnmae"), "network/<b>.network", "x"))
	n.run()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeTrouble(ctx, TroubleOptions{Listener: l, Root: n.root, Version: "0.5.0"}) }()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path, accept string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if accept != "" {
			request.Header.Set("Accept", accept)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text := kit.ReadBody(t, response)
		quiet(t, text)
		return response.StatusCode, text
	}
	for _, test := range []struct {
		path, accept string
		status       int
		want         string
	}{
		{"/", "*/*", 200, "anymx.toml:4:node.hostnmae: unknown key"},
		{"/", "*/*", 200, "anymx 0.5.0, looked at 2026-05-01 12:00:00 UTC"},
		{"/", "text/html,*/*", 200, "node.hostnmae: unknown key"},
		{"/", "text/html,*/*", 200, "network/&lt;b&gt;.network"},
		{"/", "application/json", 200, `"configured": false`},
		{"/v1/status", "", 200, `"key": "node.hostnmae"`},
		{"/healthz", "", 200, "alive"},
		{"/readyz", "", 503, "not ready"},
		{"/etc/anymx/anymx.toml", "", 404, "not found"},
	} {
		if status, text := get(test.path, test.accept); status != test.status || !strings.Contains(text, test.want) {
			t.Errorf("%s %s: %d, want %d and %q:\n%s", test.path, test.accept, status, test.status, test.want, text)
		}
	}
	var said Trouble
	if _, text := get("/v1/status", ""); json.Unmarshal([]byte(text), &said) != nil || len(said.Report.Problems) == 0 || said.Advice == "" {
		t.Errorf("%+v", said)
	}
	if response, err := client.Post("http://"+l.Addr().String()+"/", "text/plain", strings.NewReader("x")); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", response, err)
	} else {
		response.Body.Close()
	}

	// A client that opens many connections only gets a few.
	var open []net.Conn
	refused := 0
	for range 2 * troubleConnections {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	for _, c := range open {
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err == io.EOF || errors.Is(err, syscall.ECONNRESET) {
			refused++
		}
		c.Close()
	}
	if refused < troubleConnections/2 {
		t.Errorf("%d of %d connections were refused", refused, len(open))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Without a report, there is still a page.
func TestServeTroubleWithoutReport(t *testing.T) {
	o := TroubleOptions{Root: t.TempDir(), Version: "0.5.0", Log: nil}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Listener = l
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeTrouble(ctx, o) }()
	response, err := http.Get("http://" + l.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || !strings.Contains(string(text), "provisioning left no report") {
		t.Errorf("%s, %v", text, err)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
