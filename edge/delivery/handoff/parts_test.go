package handoff

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/spool"
)

// lines returns whole lines of about size bytes, some of which begin with dots, and where each
// begins; the last one is the end.
func lines(rng *rand.Rand, size int) (text []byte, starts []int64) {
	for len(text) < size {
		starts = append(starts, int64(len(text)))
		text = append(text, [...]string{"", ".", "..", "x", ".x"}[rng.IntN(5)]...)
		text = append(text, strings.Repeat("y", rng.IntN(min(200, size)))...)
		text = append(text, "\r\n"...)
	}
	return text, append(starts, int64(len(text)))
}

// cutLines are ways to cut lines out of a body, by the number of the line.
var cutLines = map[string]func(line, of int) bool{
	"nothing":      func(int, int) bool { return false },
	"start":        func(line, _ int) bool { return line == 0 },
	"end":          func(line, of int) bool { return line == of-1 },
	"every second": func(line, _ int) bool { return line%2 == 1 },
	"most":         func(line, of int) bool { return line != of/2 },
	"everything":   func(int, int) bool { return true },
}

// withParts stores a message with a front and the given cuts, in spans of one line each so that
// some are adjacent, and returns what core should get.
func withParts(t *testing.T, s *spool.Spool, front string, text []byte, starts []int64, cut func(line, of int) bool) (*queue.Attempt, []byte) {
	t.Helper()
	want := []byte(front)
	env := &mail.Envelope{
		Arrived: time.Now(), Sender: mail.Path{Local: "a", Domain: "example.org"}, Front: []byte(front), Content: mail.ContentKnown,
		Recipients: []mail.Recipient{{Path: mail.Path{Local: "b", Domain: "example.net"}}},
	}
	for i := range starts[:len(starts)-1] {
		switch n := len(env.Cuts); {
		case !cut(i, len(starts)-1):
			want = append(want, text[starts[i]:starts[i+1]]...)
		case n == mail.MaxCuts && env.Cuts[n-1].End == starts[i]:
			env.Cuts[n-1].End = starts[i+1]
		case n == mail.MaxCuts:
			want = append(want, text[starts[i]:starts[i+1]]...)
		default:
			env.Cuts = append(env.Cuts, mail.Span{Start: starts[i], End: starts[i+1]})
		}
	}
	d, err := s.BeginDraft()
	if err == nil {
		_, err = d.Write(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.Commit(env)
	if err != nil {
		t.Fatal(err)
	}
	return &queue.Attempt{Message: m, Pending: []int{0}, Number: 1, Started: time.Now()}, want
}

// What core gets is front + body - cuts, however it is sent, and the SIZE that is declared is that
// of what is sent.
func TestCoreGetsParts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := spool.Open(spool.Options{Dir: dir, InlineMax: 64 << 10, Memory: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	cert, _ := smtptest.Certificate("core.test")
	bdat := []string{"PIPELINING", "CHUNKING", "SIZE", "8BITMIME"}
	data := []string{"PIPELINING", "SIZE", "8BITMIME"}
	for name, c := range map[string]struct {
		extensions []string
		tls        bool
	}{
		"BDAT": {bdat, false}, "DATA": {data, false}, "BDAT TLS": {bdat, true}, "DATA TLS": {data, true}, "no pipelining": {[]string{"SIZE"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			core := &smtptest.Server{Extensions: c.extensions}
			o := Options{TLSMode: smtpc.TLSNever}
			if c.tls {
				core.Extensions = append([]string{"STARTTLS"}, c.extensions...)
				core.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
				o.TLSMode = smtpc.TLSAuto
			}
			h := newHandoff(t, o, smtptest.Start(t, core))
			coreGetsParts(t, s, h, core)
		})
	}
}

func coreGetsParts(t *testing.T, s *spool.Spool, h *Handoff, core *smtptest.Server) {
	rng := rand.New(rand.NewPCG(5, 5))
	front := "Received: by edge\r\n\tfolded\r\nX-Spam: no\r\n"
	for _, size := range []int{0, 1, 500, 60_000, 100_000, 3 << 20} {
		for name, cut := range cutLines {
			for _, front := range []string{front, "", strings.Repeat("X-Long: front\r\n", mail.MaxFront/15)} {
				if size > 1<<20 && front == "" {
					continue // the server keeps all of them
				}
				text, starts := lines(rng, size)
				try, want := withParts(t, s, front, text, starts, cut)
				what := fmt.Sprintf("%d bytes, front of %d, cut %s", size, len(front), name)
				for range 2 { // a second time from the disk
					before := len(core.Messages())
					mustDeliver(t, h, try)
					try.Message.Release()
					got := core.Messages()[before]
					if sha256.Sum256(got.Body) != sha256.Sum256(want) {
						t.Errorf("%s: core got %d bytes, want %d", what, len(got.Body), len(want))
					}
					if !strings.Contains(got.From+" ", fmt.Sprintf(" SIZE=%d ", len(want))) {
						t.Errorf("%s: MAIL FROM:%s, want SIZE=%d", what, got.From, len(want))
					}
				}
			}
		}
	}
}

// A message in the spool of a version whose bodies begin with the trace field goes as it was stored.
func TestCoreGetsMessagesOfOlderSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.CopyFS(dir, os.DirFS("../../spool/testdata/bodies-with-trace")); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	core := smtptest.Start(t, full())
	h := newHandoff(t, Options{}, core)
	err = s.Each(func(e spool.Entry) error {
		m, err := s.Load(e.ID)
		if err == nil {
			mustDeliver(t, h, &queue.Attempt{Message: m, Pending: []int{0}, Number: 2, Started: time.Now()})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := core.Messages()
	if len(got) != 2 {
		t.Fatalf("%d messages", len(got))
	}
	for i, count := range []int{1, 200} {
		trace, whole := bytes.CutSuffix(got[i].Body, []byte("Subject: old\r\n\r\n"+strings.Repeat(".a line of an old message\r\n", count)))
		if !whole || !bytes.HasPrefix(trace, []byte("Received: from client.example.org ")) || bytes.Count(trace, []byte("Received:")) != 1 {
			t.Errorf("message %d: %q", i, got[i].Body)
		}
	}
}
