package provision

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed trouble.html
var troubleText string

var troubleTemplate = template.Must(template.New("trouble").Parse(troubleText))

// troublePolicy lets the page use only its own style.
var troublePolicy = func() string {
	_, style, _ := strings.Cut(troubleText, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// Limits on what strangers can use of a node that has nothing else to do.
const (
	troubleConnections = 32
	troubleTimeout     = 10 * time.Second // of a request and of its response
	troubleHeader      = 8 << 10          // bytes
)

// TroubleOptions are the settings of ServeTrouble.
type TroubleOptions struct {
	Listener net.Listener // [::]:9925; closed at the end
	Root     string       // as in Options
	Version  string       // of the software, shown to people
	Log      *slog.Logger // nil: nothing is logged
}

// Trouble is ServeTrouble's response as JSON.
type Trouble struct {
	Configured bool   `json:"configured"` // always false
	Version    string `json:"version"`
	Advice     string `json:"advice"` // what to do, as text
	Report     Report `json:"report"`
}

// At is when the sources were read, as text.
func (t Trouble) At() string {
	if t.Report.At.IsZero() {
		return ""
	}
	return t.Report.At.UTC().Format("2006-01-02 15:04:05 UTC")
}

// ServeTrouble serves HTTP on a node without a valid config, until ctx ends: "/" says what is wrong
// and what to do, as a page, as text or, like /v1/status, as JSON; /healthz is 200, /readyz 503. It
// reads what Run left, needs no privilege, and changes nothing. It returns nil when ctx has ended.
func ServeTrouble(ctx context.Context, o TroubleOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	srv := &http.Server{
		Handler: o.handler(), MaxHeaderBytes: troubleHeader,
		ReadTimeout: troubleTimeout, WriteTimeout: 2 * troubleTimeout, IdleTimeout: troubleTimeout,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		ended <- srv.Serve(&fewConnections{Listener: o.Listener, free: make(chan struct{}, troubleConnections)})
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = srv.Close()
	}
	if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

func (o TroubleOptions) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusOK, "text/plain; charset=utf-8", []byte("alive\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		say(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte("not ready: this node has no valid config\n"))
	})
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { o.sayJSON(w) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		switch accept := r.Header.Get("Accept"); {
		case strings.Contains(accept, "text/html"):
			o.sayPage(w)
		case strings.Contains(accept, "application/json"):
			o.sayJSON(w)
		default:
			o.sayText(w)
		}
	})
	return mux
}

// now reads what the last provisioning left.
func (o TroubleOptions) now() Trouble {
	t := Trouble{Version: o.Version}
	r, err := Last(o.Root)
	if err != nil {
		o.Log.Warn("no report to show", "err", err)
		r.note("provisioning left no report: see its log on the console of the node")
	}
	t.Report, t.Advice = r, r.advice()
	return t
}

func (o TroubleOptions) sayText(w http.ResponseWriter) {
	t := o.now()
	text := t.Report.Text() + "\nanymx " + t.Version
	if at := t.At(); at != "" {
		text += ", looked at " + at
	}
	say(w, http.StatusOK, "text/plain; charset=utf-8", []byte(text+"\n"))
}

func (o TroubleOptions) sayJSON(w http.ResponseWriter) {
	text, err := json.MarshalIndent(o.now(), "", "  ")
	if err != nil {
		o.Log.Error("report as JSON", "err", err)
		http.Error(w, "the report can't be written as JSON", http.StatusInternalServerError)
		return
	}
	say(w, http.StatusOK, "application/json", append(text, '\n'))
}

func (o TroubleOptions) sayPage(w http.ResponseWriter) {
	var b bytes.Buffer
	if err := troubleTemplate.Execute(&b, o.now()); err != nil {
		o.Log.Error("page", "err", err)
		http.Error(w, "the page can't be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy", troublePolicy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	say(w, http.StatusOK, "text/html; charset=utf-8", b.Bytes())
}

func say(w http.ResponseWriter, status int, contentType string, text []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept")
	w.WriteHeader(status)
	w.Write(text) // an error means that the client has gone
}

// fewConnections closes connections above a limit at once.
type fewConnections struct {
	net.Listener
	free chan struct{}
}

func (l *fewConnections) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &fewConn{Conn: c, of: l}, nil
		default:
			c.Close() // nothing was sent on it
		}
	}
}

type fewConn struct {
	net.Conn
	of   *fewConnections
	once sync.Once
}

func (c *fewConn) Close() error {
	c.once.Do(func() { <-c.of.free })
	return c.Conn.Close()
}
