package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/tests/kit"
)

// hooked is a node of which a test replaces one answer.
type hooked struct {
	Node
	list   func(context.Context) (api.QueuePage, error)
	reload func() error
}

func (hooked) Status(context.Context) api.Status { return api.Status{} }
func (hooked) Ready(context.Context) error       { return nil }
func (h hooked) List(ctx context.Context, _ api.QueueQuery) (api.QueuePage, error) {
	return h.list(ctx)
}
func (h hooked) Reload(context.Context) (api.Reloaded, error) { return api.Reloaded{}, h.reload() }
func (hooked) Change(_ context.Context, _ api.Action, ids []mail.ID, _ string) (api.Outcome, error) {
	return api.Outcome{Done: ids}, nil
}

func (hooked) Show(context.Context, mail.ID) (api.QueueDetail, error) { return api.QueueDetail{}, nil }

// serve runs a Server on a unix socket until the test ends or stop is called. stop returns the
// result of Serve.
func serve(t *testing.T, o Options, limits timeouts) (socket string, stop func() error) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.endpoint.timeouts = limits
	socket = filepath.Join(t.TempDir(), "s")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, nil) }()
	var result error
	stopped := false
	stop = func() error {
		if !stopped {
			cancel()
			result, stopped = <-ended, true
		}
		return result
	}
	t.Cleanup(func() { stop() }) // tests that need the result call stop themselves
	return socket, stop
}

func TestConnectionsAreCapped(t *testing.T) {
	registry := prometheus.NewRegistry()
	socket, _ := serve(t, Options{Node: hooked{}, Metrics: registry, MaxConnections: 3}, standardTimeouts)
	var open []net.Conn
	for range 3 {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") // read below
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q, %v", line, err)
		}
		open = append(open, c)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second)) // bounds the test
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a connection above the limit was kept: %d, %v", n, err)
	}
	wantMetric(t, registry, "anymx_control_connections_refused_total", 1)
	wantMetric(t, registry, "anymx_control_connections", 3)
	wantMetric(t, registry, "anymx_control_connections_limit", 3)

	open[0].Close() // frees its slot
	kit.Eventually(t, "the server answers", func() bool {
		client := NewClient(socket)
		defer client.Close()
		_, err := client.Version(t.Context())
		return err == nil
	})
}

// wantMetric checks the value for the control listener.
func wantMetric(t *testing.T, g prometheus.Gatherer, name string, want float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == "control" {
				if got := m.GetGauge().GetValue() + m.GetCounter().GetValue(); got != want {
					t.Errorf("%s: %v, want %v", name, got, want)
				}
				return
			}
		}
	}
	t.Errorf("no metric %s", name)
}

func TestMetricNames(t *testing.T) {
	registry := prometheus.NewRegistry()
	if _, err := New(Options{Node: hooked{}, Metrics: registry}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if _, err := New(Options{Node: hooked{}, Metrics: registry}); err == nil {
		t.Error("a second server on the same registry gives no error")
	}
}

func TestSlowClientIsCut(t *testing.T) {
	limits := standardTimeouts
	limits.read = 50 * time.Millisecond
	socket, _ := serve(t, Options{Node: hooked{}}, limits)
	for name, start := range map[string]string{
		"nothing": "",
		"header":  "GET /healthz HTTP/1.1\r\nHost:",
		"body":    "POST /v1/queue/flush HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
	} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second)) // bounds the test
		io.WriteString(c, start)                        // read below
		if text, err := io.ReadAll(c); err != nil {
			t.Errorf("%s: the connection was kept: %q, %v", name, text, err)
		}
	}
}

func TestLongHeaderIsRefused(t *testing.T) {
	socket, _ := serve(t, Options{Node: hooked{}}, standardTimeouts)
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go io.WriteString(c, "GET /healthz HTTP/1.1\r\nX: "+strings.Repeat("x", 1<<20)) // the server cuts it
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.Contains(line, "431") {
		t.Errorf("%q, %v", line, err)
	}
}

func TestSlowNodeIsATimeout(t *testing.T) {
	limits := standardTimeouts
	limits.request = 20 * time.Millisecond
	socket, _ := serve(t, Options{Node: hooked{list: func(ctx context.Context) (api.QueuePage, error) {
		<-ctx.Done()
		return api.QueuePage{}, ctx.Err()
	}}}, limits)
	c := NewClient(socket)
	defer c.Close()
	_, err := c.Page(t.Context(), api.QueueQuery{})
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.Unavailable {
		t.Errorf("%v", err)
	}
}

// A request in flight when the server stops is answered.
func TestStopLetsRequestsEnd(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	socket, stop := serve(t, Options{Node: hooked{list: func(context.Context) (api.QueuePage, error) {
		close(began)
		<-goOn
		return api.QueuePage{Items: []api.QueueItem{{Size: 7}}}, nil
	}}}, standardTimeouts)
	c := NewClient(socket)
	defer c.Close()
	type answer struct {
		page api.QueuePage
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		page, err := c.Page(context.Background(), api.QueueQuery{})
		answered <- answer{page, err}
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	kit.Eventually(t, "the socket refuses connections", func() bool { _, err := net.Dial("unix", socket); return err != nil })
	close(goOn)
	if a := <-answered; a.err != nil || len(a.page.Items) != 1 {
		t.Errorf("%+v", a)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// A request that does not end by itself is cancelled, and Serve waits for it.
func TestStopCancelsRequests(t *testing.T) {
	limits := standardTimeouts
	limits.grace = 20 * time.Millisecond
	began, ended := make(chan struct{}), make(chan struct{})
	socket, stop := serve(t, Options{Node: hooked{list: func(ctx context.Context) (api.QueuePage, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return api.QueuePage{}, ctx.Err()
	}}}, limits)
	c := NewClient(socket)
	defer c.Close()
	go c.Page(context.Background(), api.QueueQuery{}) // fails, because the server is stopped
	<-began
	if err := stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	select {
	case <-ended:
	default:
		t.Error("Serve returned while a request was in flight")
	}
}

func TestServeFailsWithItsListener(t *testing.T) {
	s, err := New(Options{Node: hooked{}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp.Close()
	if err := s.Serve(t.Context(), l, tcp); err == nil || !strings.Contains(err.Error(), "metrics listener: ") {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("unix", l.Addr().String()); err == nil {
		t.Error("the other listener is still open")
	}
}

// A panic ends one request, not the node.
func TestPanicEndsOneRequest(t *testing.T) {
	var log bytes.Buffer
	socket, stop := serve(t, Options{
		Node: hooked{list: func(context.Context) (api.QueuePage, error) { panic("a bug") }},
		Log:  slog.New(slog.NewTextHandler(&log, nil)),
	}, standardTimeouts)
	c := NewClient(socket)
	defer c.Close()
	if _, err := c.Page(t.Context(), api.QueueQuery{}); err == nil {
		t.Error("no error")
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Errorf("the next request: %v", err)
	}
	stop() // completes the log
	if !strings.Contains(log.String(), "a bug") {
		t.Errorf("the log does not tell: %s", log.String())
	}
}

// The log names the user of each change.
func TestAudit(t *testing.T) {
	var log bytes.Buffer
	socket, stop := serve(t, Options{
		Node: hooked{reload: func() error { return errors.New("no such file") }},
		Log:  slog.New(slog.NewTextHandler(&log, nil)),
	}, standardTimeouts)
	c := NewClient(socket)
	defer c.Close()
	for _, err := range c.Change(t.Context(), api.Delete, api.Change{IDs: []mail.ID{{1}, {2}}}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Reload(t.Context()) // fails
	stop()                // completes the log
	who := " uid=" + strconv.Itoa(os.Getuid()) + " pid=" + strconv.Itoa(os.Getpid())
	for _, want := range []string{
		`level=INFO msg="control request" action=delete all=false messages=2 later=0 refused=0` + who,
		`level=WARN msg="control request refused" action=reload` + who + ` err="no such file"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not hold %s:\n%s", want, log.String())
		}
	}
}

func TestCodes(t *testing.T) {
	seen := map[int]bool{}
	for _, c := range []api.Code{api.BadRequest, api.NotFound, api.TooLarge, api.BadConfig, api.Internal, api.Unavailable} {
		status := httpStatus(c)
		if status < 400 || seen[status] || http.StatusText(status) == "" {
			t.Errorf("%s: %d", c, status)
		}
		seen[status] = true
	}
	if errors.Is(&api.Error{Code: api.NoRoute}, api.ErrNotFound) || !errors.Is(&api.Error{Code: api.NotFound}, api.ErrNotFound) {
		t.Error("errors.Is does not go by the code")
	}
}
