package core

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"anymx/edge/mail"

	"github.com/cockroachdb/pebble/v2"
)

func TestParseIdentity(t *testing.T) {
	const id = "06fwjm7e0r002pzg"
	tests := []struct {
		text string
		ok   bool
	}{
		{id + ".ams1", true},
		{id + ".AMS-1", true},
		{id + ".a", true},
		{id + "." + string(make63()), true},
		{id + "." + string(make63()) + "a", false},
		{"", false},
		{id, false},
		{id + ".", false},
		{".ams1", false},
		{id + ".ams 1", false},
		{id + ".ams_1", false},
		{id + ".a.b", false},
		{id + "./", false},
		{id + ".ä", false},
		{id[1:] + ".ams1", false},
		{id + "0.ams1", false},
		{"06FWJM7E0R002PZG.ams1", false}, // would be another file name
		{"06fwjm7e0r002pzi.ams1", false},
		{"0000000000000000.ams1", false},
		{"4BqX9Zk7s0zMwJH", false}, // Postfix
	}
	for _, tt := range tests {
		who, ok := parseIdentity(tt.text)
		if ok != tt.ok || ok == who.isNone() || ok && who.String() != tt.text {
			t.Errorf("%q: %v %v", tt.text, who, ok)
		}
	}
}

func make63() []byte {
	b := make([]byte, 63)
	for i := range b {
		b[i] = 'n'
	}
	return b
}

// TestIdentityDay includes a node whose clock is at 1970.
func TestIdentityDay(t *testing.T) {
	for _, day := range []int64{0, 1, 20_000, 30_000} {
		at := time.Unix(day*secondsPerDay, 0)
		for _, now := range []time.Time{at, at.Add(24*time.Hour - time.Millisecond)} {
			who := identity{mail.NewIDs(7).Next(now), "n"}
			if who.day() != uint32(day) {
				t.Errorf("%v is on day %d, not %d", now, who.day(), day)
			}
		}
	}
}

// TestTwiceAtOnce sends each message on many connections at the same time, over SMTP and LMTP, to
// the same mailboxes in different order.
func TestTwiceAtOnce(t *testing.T) {
	n := start(t, Options{})
	const clients, messages = 8, 30
	var idents [messages]string
	for i := range idents {
		idents[i] = newIdent()
	}
	var running sync.WaitGroup
	for k := range clients {
		running.Go(func() {
			addr, hello, lmtp := n.smtp, "EHLO", false
			if k%2 == 1 {
				addr, hello, lmtp = n.lmtp, "LHLO", true
			}
			c := greet(t, addr, hello)
			for i, ident := range idents {
				to := []string{"b@example.net", "c@example.net", fmt.Sprintf("m%d@example.net", i)}
				if k%3 == 1 {
					to[0], to[2] = to[2], to[0]
				}
				c.mustGive(transaction{ident: ident, to: to[:1+(k+i)%3], body: body(ident, 2000)}, lmtp)
			}
		})
	}
	running.Wait()
	for _, box := range []string{"example.net/b", "example.net/c"} {
		got := n.inbox(box)
		if len(got) != messages {
			t.Errorf("%s has %d messages", box, len(got))
		}
		seen := map[string]bool{}
		for _, text := range got {
			seen[text] = true
		}
		if len(seen) != messages {
			t.Errorf("%s has %d different messages", box, len(seen))
		}
	}
	for i := range idents {
		if got := n.inbox(fmt.Sprintf("example.net/m%d", i)); len(got) != 1 {
			t.Errorf("m%d has %d messages", i, len(got))
		}
	}
}

// TestReaderRaces lets a mail reader move each message as soon as it appears, while the same
// message is sent again and again.
func TestReaderRaces(t *testing.T) {
	n := start(t, Options{})
	done := make(chan struct{})
	var running sync.WaitGroup
	taken := 0
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, file := range n.files("example.net/b", "new") {
				taken++
				remove(t, file)
			}
		}
	})
	const messages = 40
	var clients sync.WaitGroup
	idents := make(chan string, 4*messages)
	for range messages {
		ident := newIdent()
		for range 4 {
			idents <- ident
		}
	}
	close(idents)
	for range 4 {
		clients.Go(func() {
			c := greet(t, n.smtp, "EHLO")
			for ident := range idents {
				c.mustGive(transaction{ident: ident, to: []string{"b@example.net"}, body: "x"}, false)
			}
		})
	}
	clients.Wait()
	close(done)
	running.Wait()
	if taken += len(n.files("example.net/b", "new")); taken != messages {
		t.Errorf("%d messages were seen, %d were handed over", taken, messages)
	}
}

// TestForget checks that the ledger counts the days of a message from when it was stored, whatever
// the clocks of the node (in the identity) and of this machine say.
func TestForget(t *testing.T) {
	now := time.Unix(20_000*secondsPerDay, 0)
	for name, clock := range map[string]func(day int) time.Time{
		"right":                  func(day int) time.Time { return now.Add(time.Duration(day) * oneDay) },
		"steps ten years ahead":  func(day int) time.Time { return now.Add(time.Duration(day+min(day, 1)*3650) * oneDay) },
		"steps ten years back":   func(day int) time.Time { return now.Add(time.Duration(day-min(day, 1)*3650) * oneDay) },
		"steps back every day":   func(day int) time.Time { return now.Add(time.Duration(-day) * oneDay) },
		"steps ahead every day":  func(day int) time.Time { return now.Add(time.Duration(day) * 365 * oneDay) },
		"stands before its time": func(int) time.Time { return time.Unix(1, 0) },
	} {
		for _, restarts := range []bool{false, true} {
			if restarts && name != "right" && name != "steps ahead every day" {
				continue // a clock that does not go on counts no day between two runs
			}
			t.Run(fmt.Sprintf("%s, restarts: %v", name, restarts), func(t *testing.T) {
				n := start(t, Options{Dir: filepath.Join(t.TempDir(), "store"), Now: func() time.Time { return now }})
				ids := mail.NewIDs(3)
				var idents []string
				for _, age := range []int{20_000, 3650, 40, 31, 30, 0, -3650} {
					idents = append(idents, ids.Next(now.Add(-time.Duration(age)*oneDay)).String()+".ams1")
				}
				give := func(want int) {
					t.Helper()
					c := greet(t, n.smtp, "EHLO")
					for _, ident := range idents {
						c.mustGive(transaction{ident: ident, to: []string{"b@example.net"}, body: "x"}, false)
					}
					files := n.files("example.net/b", "new")
					if len(files) != want {
						t.Errorf("%d messages were stored, want %d", len(files), want)
					}
					for _, file := range files {
						remove(t, file)
					}
				}
				up := time.Duration(0)
				pass := func(day int) {
					t.Helper()
					if restarts {
						n.stop()
						n = start(t, Options{Dir: n.options.Dir, Now: func() time.Time { return now }})
						up = 0
					} else if day > 0 {
						up += oneDay
					}
					if err := n.server.store.ledger.forget(clock(day), up, 30); err != nil {
						t.Fatal(err)
					}
				}
				give(len(idents))
				for day := range 31 {
					pass(day)
				}
				give(0)
				pass(31)
				give(len(idents))
			})
		}
	}
}

// TestForgetOlder checks that entries of an older program stay for the same number of days.
func TestForgetOlder(t *testing.T) {
	n := start(t, Options{})
	l := n.server.store.ledger
	who := identity{mail.NewIDs(3).Next(time.Now()), "ams1"}
	if err := l.db.Set(olderKey(who, "example.net/b"), nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n = start(t, Options{Dir: n.options.Dir})
	l = n.server.store.ledger
	for day := range 33 {
		if known, err := l.knows(who, "example.net/b"); err != nil || known != (day <= 31) {
			t.Errorf("day %d: known %v, %v", day, known, err)
		}
		if err := l.forget(time.Now(), time.Duration(day)*oneDay, 30); err != nil {
			t.Fatal(err)
		}
	}
}
