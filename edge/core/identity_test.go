package core

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"anymx/edge/mail"
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
		{"06FWJM7E0R002PZG.ams1", false}, // it would be another file name
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

// TestIdentityDay also holds for a node whose clock stands at the beginning.
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

// TestTwiceAtOnce hands each message over on many connections at the same time,
// by SMTP and LMTP, to the same mailboxes in different order.
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
				c.mustGive(letter{ident: ident, to: to[:1+(k+i)%3], body: body(ident, 2000)}, lmtp)
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

// TestReaderRaces has a mail reader take each message away as soon as it is
// seen, while the same message is handed over again and again.
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
				c.mustGive(letter{ident: ident, to: []string{"b@example.net"}, body: "x"}, false)
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

// TestForget drops days that are over, and only those.
func TestForget(t *testing.T) {
	now := time.Unix(20_000*secondsPerDay, 0)
	n := start(t, Options{Now: func() time.Time { return now }})
	c := greet(t, n.smtp, "EHLO")
	ids := mail.NewIDs(3)
	give := func(ident string) {
		c.mustGive(letter{ident: ident, to: []string{"b@example.net"}, body: "x"}, false)
	}
	var idents []string
	for _, age := range []int{40, 31, 30, 29, 1, 0} {
		idents = append(idents, ids.Next(now.Add(-time.Duration(age)*24*time.Hour)).String()+".ams1")
		give(idents[len(idents)-1])
	}
	for _, then := range []time.Time{now.Add(-30 * 24 * time.Hour), now.Add(-30 * 24 * time.Hour), {}} {
		if err := n.server.store.ledger.forget(then); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range n.files("example.net/b", "new") {
		remove(t, file)
	}
	for _, ident := range idents {
		give(ident)
	}
	if got := len(n.files("example.net/b", "new")); got != 2 {
		t.Errorf("%d messages were forgotten, want those of 40 and 31 days", got)
	}
}
