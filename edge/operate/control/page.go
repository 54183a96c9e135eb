package control

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

//go:embed page.html
var pageText string

// pageRefresh is how often a browser asks for the page again, in seconds.
const pageRefresh = 5

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": func(n any) string {
		switch n := n.(type) {
		case int:
			return words.Count(int64(n))
		case int64:
			return words.Count(n)
		}
		return fmt.Sprint(n)
	},
	"size":   words.Size,
	"redact": words.Redact,
}).Parse(pageText))

// pagePolicy lets the page use its own style and nothing else: no script, no
// frame, no other host.
var pagePolicy = "default-src 'none'; img-src data:; style-src '" + styleHash(pageText) +
	"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// styleHash is the text between the style tags, as a policy names it.
func styleHash(page string) string {
	_, style, _ := strings.Cut(page, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// view is what the page shows: a Status and the words for its times.
type view struct {
	api.Status
	now     time.Time
	Refresh int
	At      string
	For     string // how long it is in its phase
	Uptime  string
	Oldest  string
	Expiry  string // of the certificate
	Soon    bool   // the certificate ends soon, or has ended

	SessionBar bar
	SpoolBars  []bar
	Network    *networkView // hides the Status'; nil: no anymx-net is configured
	Routes     *routesView  // nil: no speaker is configured
}

// bar is a quantity and its limit.
type bar struct {
	Name, Value, Limit string
	Percent            float64 // 0 to 100
	Full               bool    // nearly at the limit
}

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, newView(s.status(r.Context()), s.now())); err != nil {
		s.log.Error("status page", "err", err)
		http.Error(w, "the page can't be made; see the log", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	b.WriteTo(w) // the client is gone, then
}

func newView(s api.Status, now time.Time) view {
	v := view{Status: s, now: now, Refresh: pageRefresh, At: now.UTC().Format("2006-01-02 15:04:05 UTC")}
	if !s.Since.IsZero() {
		v.For = words.Span(now.Sub(s.Since), true)
	}
	if !s.Started.IsZero() {
		v.Uptime = words.Span(now.Sub(s.Started), true)
	}
	if !s.Queue.Oldest.IsZero() {
		v.Oldest = words.When(s.Queue.Oldest, now)
	}
	if s.TLS != nil {
		v.Expiry, v.Soon = words.ExpiryText(s.TLS, now), words.ExpiresSoon(s.TLS, now)
	}
	v.SessionBar = newBar("Open", int64(s.Sessions.Open), int64(s.Sessions.Limit), words.Count)
	v.SpoolBars = []bar{
		newBar("Messages", s.Spool.Messages, s.Spool.MaxMessages, words.Count),
		newBar("Size", s.Spool.Bytes, s.Spool.HighWater, words.Size),
	}
	v.Routes, v.Network = newRoutesView(&s, now), newNetworkView(&s, now)
	return v
}

func newBar(name string, value, limit int64, text func(int64) string) bar {
	b := bar{Name: name, Value: text(value)}
	if limit > 0 {
		share := float64(value) / float64(limit)
		b.Limit = text(limit)
		b.Percent = math.Round(min(1, max(0, share))*1000) / 10
		b.Full = share >= 0.9
	}
	return b
}

// Steps are those of the drain.
func (v view) Steps() []stepView {
	var list []stepView
	for _, s := range v.Drain.Steps {
		list = append(list, stepView{Name: string(s.Step), Text: words.StepText(s, v.now), UnderWay: s.Ended.IsZero(), Wrong: s.Note != ""})
	}
	return list
}

// DegradedLines tell what the node goes without.
func (v view) DegradedLines() []string {
	var list []string
	for _, l := range words.DegradedText(&v.Status, v.now) {
		list = append(list, l.Text)
	}
	return list
}

// DrainLeft is what is left, in one line.
func (v view) DrainLeft() string { return words.DrainLeftText(v.Drain) }

// ProbeProblem tells of a probe of a core address that failed.
func (v view) ProbeProblem(c api.CoreStatus) string {
	if c.Probe == nil || c.Probe.Problem == "" {
		return ""
	}
	return words.ProbeText(c.Probe, v.now)
}

// NextTry is when a core address that is down is tried again.
func (v view) NextTry(c api.CoreStatus) string {
	if c.Health == api.Up || c.RetryAt.IsZero() {
		return ""
	}
	return words.Due(c.RetryAt, v.now)
}

// Probe is when a destination that can't be reached is asked again.
func (v view) Probe(p api.PauseStatus) string {
	if p.Until.IsZero() {
		return ""
	}
	return words.Due(p.Until, v.now)
}
