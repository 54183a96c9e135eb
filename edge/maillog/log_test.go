package maillog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"anymx/edge/mail"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	noon = time.Date(2031, 5, 4, 12, 0, 0, 123e6, time.UTC)
	id   = mail.NewIDs(7).Next(noon)
	dsn  = mail.NewIDs(8).Next(noon)
)

func client(helo string) mail.Client {
	return mail.Client{
		Addr: netip.MustParseAddrPort("[2001:db8::1]:4711"), Helo: helo,
		Proto: "ESMTPS", TLS: "TLS 1.3 TLS_AES_128_GCM_SHA256",
	}
}

func envelope() *mail.Envelope {
	return &mail.Envelope{
		ID: id, Sender: mail.Path{Local: "a", Domain: "c.test"}, Size: 4711,
		Recipients: []mail.Recipient{{Path: mail.Path{Local: "b", Domain: "mx.test"}}, {Path: mail.Path{Local: "o k", Domain: "mx.test"}}},
		Client:     client("c.test"),
	}
}

func TestLines(t *testing.T) {
	env := envelope()
	refused := &mail.Failure{
		Reply: mail.Reply{Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: "no such \"user\"\nsorry"}, Permanent: true,
		Enhanced: mail.Enhanced{5, 1, 1}, Command: "RCPT", Remote: "core[192.0.2.1]:25",
	}
	const at = "2031-05-04T12:00:00.123Z"
	tests := []struct {
		write func(l *Log)
		want  string // logfmt; ID and DSN are placeholders for the ids
	}{
		{
			func(l *Log) { l.Accepted(env) },
			`event=accepted id=ID from=a@c.test to=b@mx.test recipients=2 size=4711 client=2001:db8::1 helo=c.test proto=ESMTPS tls="TLS 1.3 TLS_AES_128_GCM_SHA256"`,
		}, {
			func(l *Log) {
				judged := *env
				judged.Tags, judged.Route = []string{"dnsbl.example", "x=\"1"}, "slow"
				l.Accepted(&judged)
			},
			`event=accepted id=ID from=a@c.test to=b@mx.test recipients=2 size=4711 tags="dnsbl.example,x=\"1" route=slow client=2001:db8::1 helo=c.test proto=ESMTPS tls="TLS 1.3 TLS_AES_128_GCM_SHA256"`,
		}, {
			func(l *Log) { l.Refused(&env.Client, "rcpt", mail.Path{}, env.Recipients[1].Path, refused.Reply) },
			`event=refused stage=rcpt from="" to="\"o k\"@mx.test" reply="550 5.1.1 no such \"user\"\nsorry" client=2001:db8::1 helo=c.test proto=ESMTPS tls="TLS 1.3 TLS_AES_128_GCM_SHA256"`,
		}, {
			func(l *Log) { l.Refused(&mail.Client{}, "mail", env.Sender, mail.Path{}, mail.Reply{Code: 452}) },
			`event=refused stage=mail from=a@c.test reply="452"`,
		}, {
			func(l *Log) {
				l.Delivered(env, 0, 3, mail.Result{Remote: "core:25", Reply: mail.Reply{Code: 250, Text: "fine"}}, 1500*time.Microsecond)
			},
			`event=delivered id=ID to=b@mx.test attempt=3 remote=core:25 reply="250 fine" took=0.001500`,
		}, {
			func(l *Log) { l.Deferred(env, 0, 1, refused, noon.Add(time.Minute)) },
			`event=deferred id=ID to=b@mx.test attempt=1 why="core[192.0.2.1]:25: RCPT: permanent failure: 550 5.1.1 no such \"user\" sorry" next=2031-05-04T12:01:00.123Z`,
		}, {
			func(l *Log) { l.Deferred(env, 9, 1, nil, noon) },
			`event=deferred id=ID attempt=1 next=2031-05-04T12:00:00.123Z`,
		}, {
			func(l *Log) { l.Bounced(env, 0, 2, nil, dsn) },
			`event=bounced id=ID to=b@mx.test attempt=2 from=a@c.test dsn=DSN`,
		}, {
			func(l *Log) { l.Expired(env, 0, 2, nil, mail.ID{}) },
			`event=expired id=ID to=b@mx.test attempt=2 from=a@c.test`,
		}, {
			func(l *Log) {
				e := *env
				e.NoDSN = true
				l.Bounced(&e, 0, 2, nil, mail.ID{})
			},
			`event=bounced id=ID to=b@mx.test attempt=2 from=a@c.test nodsn="sender not verified"`,
		}, {
			func(l *Log) { l.Notified(env, "delay", dsn) },
			`event=notified id=ID from=a@c.test kind=delay dsn=DSN`,
		}, {
			func(l *Log) { l.Removed(env, "by hand") },
			`event=removed id=ID from=a@c.test why="by hand"`,
		}, {
			func(l *Log) {
				l.Session(&Session{Client: mail.Client{Addr: env.Client.Addr}, Duration: time.Second, Commands: 5, Errors: 1, Messages: 2, Refused: 3, In: 100, Out: 200, Reason: "too slow"})
			},
			`event=session client=2001:db8::1 end="too slow" messages=2 refused=3 commands=5 errors=1 in=100 out=200 took=1.000000`,
		},
	}
	for _, test := range tests {
		text := strings.NewReplacer("=ID", "="+id.String(), "=DSN", "="+dsn.String()).Replace(test.want)
		want, err := parseLogfmt("time=" + at + " " + text)
		if err != nil {
			t.Fatal(err)
		}
		for _, json := range []bool{false, true} {
			got := record(t, json, test.write)
			if len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
				t.Errorf("JSON %v:\n got %q\nwant %q", json, got, want)
			}
		}
		var out bytes.Buffer
		l := New(&out, Options{Now: func() time.Time { return noon }})
		test.write(l)
		l.Close()
		if got := out.String(); got != "time="+at+" "+text+"\n" {
			t.Errorf("got %s", got)
		}
	}
}

// hostile holds HELO names meant to forge lines or fields.
var hostile = []string{
	"x{", "{", "}", "x\nevent=accepted id=forged", "x\r\nevent=accepted", "x\" event=accepted y=\"", `x\" event=accepted`, `\`, `x\`, `"`, "=", "a=b",
	"x\x00y", "\x1b[31mred", "\x7f", "\u0085", "\u2028event=accepted", "\u2029", "\u202egnp.exe", "\ufeff", "\u200b", "\xff\xfe", "\xc3", "\xed\xa0\x80", "\U000e0001", "\U0001f600", "ä",
	"<script>", "a&b", " ", "x ", "\t", strings.Repeat("x", 600), strings.Repeat("ä", 300), "x" + strings.Repeat("ä", 300), strings.Repeat("\xff", 600),
}

// checkValue writes value as every untrusted field, and reads it back.
func checkValue(t *testing.T, value string) {
	t.Helper()
	env := envelope()
	env.Client = client(value)
	env.Sender = mail.Path{Local: value, Domain: value}
	reply := mail.Reply{Code: 550, Text: value}
	for _, json := range []bool{false, true} {
		lines := record(t, json, func(l *Log) {
			l.Accepted(env)
			l.Refused(&env.Client, "mail", env.Sender, env.Sender, reply)
			l.Delivered(env, 0, 1, mail.Result{Remote: value, Reply: reply}, 0)
			l.Deferred(env, 0, 1, &mail.Failure{Reply: reply, Remote: value, Cause: errors.New(value)}, noon)
			l.Removed(env, value)
		})
		if len(lines) != 5 {
			t.Fatalf("%q: %d lines", value, len(lines))
		}
		for i, n := range []int{11, 10, 8, 7, 5} {
			if value == "" && i < 2 {
				n-- // no helo, or
				if i == 1 {
					n-- // no recipient
				}
			}
			if len(lines[i]) != n {
				t.Errorf("%q: %d fields, not %d: %q", value, len(lines[i]), n, lines[i])
			}
		}
		why := lines[4][4].value
		if utf8.ValidString(value) && len(value) <= maxText && why != value {
			t.Errorf("%q was read back as %q", value, why)
		}
		if len(value) > maxText && utf8.ValidString(value) && (!strings.HasPrefix(value, why) || len(why) <= maxText-utf8.UTFMax) {
			t.Errorf("%q was cut to %q", value, why)
		}
	}
}

func TestHostile(t *testing.T) {
	for _, value := range hostile {
		checkValue(t, value)
	}
}

func FuzzLine(f *testing.F) {
	for _, value := range hostile {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) { checkValue(t, value) })
}

// dropped reads the counter.
func dropped(t *testing.T, reg *prometheus.Registry) int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "anymx_maillog_lines_dropped_total" {
		t.Fatalf("metrics: %v, %v", families, err)
	}
	return int(families[0].GetMetric()[0].GetCounter().GetValue())
}

// gate is a writer that waits until it is opened.
type gate struct {
	mu     sync.Mutex
	out    bytes.Buffer
	writes int
	open   chan struct{}
	err    error
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes++
	if g.err != nil {
		return 0, g.err
	}
	return g.out.Write(p)
}

func TestDropping(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	reg := prometheus.NewRegistry()
	l := New(g, Options{Metrics: reg})
	env := envelope()
	const lines = 100_000 // of some 200 bytes, far more than the buffers hold
	began := time.Now()
	for range lines {
		l.Removed(env, "by hand")
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("writing waited for the writer: %v", took)
	}
	lost := dropped(t, reg)
	if lost == 0 || lost == lines {
		t.Errorf("%d lines were dropped of %d", lost, lines)
	}
	close(g.open)
	// There is room once the writer has accepted a buffer.
	for end := time.Now().Add(10 * time.Second); ; {
		l.mu.Lock()
		room := len(l.lines.b) < maxBuffer
		l.mu.Unlock()
		if room || time.Now().After(end) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	l.Removed(env, "afterwards")
	l.Close()
	count := map[string]int{}
	for _, fields := range readBack(t, false, g.out.String()) {
		count[fields[1].value]++
		if fields[1].value == "dropped" && fields[2].value != strconv.Itoa(lost) {
			t.Errorf("says %s lines were dropped, of %d", fields[2].value, lost)
		}
	}
	if count["dropped"] != 1 || count["removed"]+lost != lines+1 {
		t.Errorf("%d lines dropped, written %v", lost, count)
	}
}

func TestFailingWriter(t *testing.T) {
	g := &gate{open: make(chan struct{}), err: errors.New("gone")}
	close(g.open)
	reg := prometheus.NewRegistry()
	l := New(g, Options{Metrics: reg})
	for range 10 {
		l.Removed(envelope(), "by hand")
	}
	l.Close()
	if n := dropped(t, reg); n != 10 {
		t.Errorf("%d lines counted as dropped, not 10", n)
	}
}

// TestFlush checks that a line waits for at most a tenth of a second, that many lines are one
// write, and that an idle Log does nothing.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		close(g.open)
		l := New(g, Options{})
		defer l.Close()
		time.Sleep(time.Hour)
		for range 100 {
			l.Removed(envelope(), "by hand")
		}
		time.Sleep(flushAfter + time.Millisecond)
		synctest.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		if lines := strings.Count(g.out.String(), "\n"); lines != 100 || g.writes != 1 {
			t.Errorf("%d lines in %d writes", lines, g.writes)
		}
	})
}

// TestFlushEarly checks that many lines are written out at once.
func TestFlushEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		close(g.open)
		l := New(g, Options{})
		defer l.Close()
		for range 1000 {
			l.Removed(envelope(), "by hand")
		}
		synctest.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.out.Len() < flushSize {
			t.Errorf("%d bytes are written", g.out.Len())
		}
	})
}

func TestClose(t *testing.T) {
	var out bytes.Buffer
	reg := prometheus.NewRegistry()
	l := New(&out, Options{Metrics: reg})
	l.Removed(envelope(), "by hand")
	l.Close()
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines at Close", n)
	}
	l.Close()
	l.Removed(envelope(), "too late")
	if n := strings.Count(out.String(), "\n"); n != 1 || dropped(t, reg) != 1 {
		t.Errorf("%d lines after Close, %d dropped", n, dropped(t, reg))
	}
	var none *Log
	none.Removed(envelope(), "by hand")
	none.Session(&Session{})
	none.Close()
}

func TestConcurrently(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, Options{JSON: true})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				l.Accepted(envelope())
			}
		})
	}
	all.Wait()
	l.Close()
	if n := len(readBack(t, true, out.String())); n != 8*500 {
		t.Errorf("%d lines", n)
	}
}

// hot holds the lines that are written for each message.
var hot = map[string]func(*Log, *mail.Envelope){
	"accepted": func(l *Log, env *mail.Envelope) { l.Accepted(env) },
	"delivered": func(l *Log, env *mail.Envelope) {
		l.Delivered(env, 0, 1, mail.Result{Remote: "10.77.0.1:2525", Reply: mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "stored as something"}}, time.Millisecond)
	},
	"session": func(l *Log, env *mail.Envelope) { l.Session(&Session{Client: env.Client, Reason: "quit"}) },
}

func TestAllocations(t *testing.T) {
	env := envelope()
	for name, write := range hot {
		for _, json := range []bool{false, true} {
			l := New(io.Discard, Options{JSON: json})
			l.lines.b = make([]byte, 0, 4<<20) // else it grows while we count
			if n := testing.AllocsPerRun(1000, func() { write(l, env) }); n > 0 {
				t.Errorf("%s, JSON %v: %v allocations a line", name, json, n)
			}
			l.Close()
		}
	}
}

func BenchmarkLog(b *testing.B) {
	env := envelope()
	for name, write := range hot {
		for _, json := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s JSON %v", name, json), func(b *testing.B) {
				l := New(io.Discard, Options{JSON: json})
				defer l.Close()
				b.ReportAllocs()
				for b.Loop() {
					write(l, env)
				}
			})
		}
	}
}
