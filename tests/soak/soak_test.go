// Package soak kills the edge repeatedly while mail arrives, and counts what reaches core.
package soak

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anymx/tests/pop"
)

func TestMain(m *testing.M) { os.Exit(pop.Main(m)) }

// kills returns how often anymx-edge is killed with SIGKILL: ANYMX_KILLS, or 20.
func kills(t *testing.T) int {
	text := os.Getenv("ANYMX_KILLS")
	if text == "" {
		return 20
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("ANYMX_KILLS: %v", err)
	}
	return n
}

// Every message that got a 250 is in core exactly once in each mailbox, complete, however often the
// edge was killed. One of its recipients is at the default core, the other at a core group: the message has
// two legs.
func TestKilledEdgeLosesNothing(t *testing.T) {
	kills := kills(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	p := pop.Start(t, pop.Options{Group: "archive"})
	acks := &acknowledged{ids: make(map[string]int)}
	var numbers atomic.Int64

	ctx, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for i := range 20 {
		s := &sender{
			address: p.SMTP, acks: acks, rand: rand.New(rand.NewPCG(seed, uint64(i)+2)),
			number: func() int { return int(numbers.Add(1)) },
		}
		senders.Go(func() {
			if err := s.run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for range kills {
		before := acks.count()
		time.Sleep(time.Duration(100+chance.IntN(900)) * time.Millisecond) // under load, at a random moment
		awaitMore(t, acks, before)
		p.Edge().Kill()
		p.StartEdge()
	}
	stop()
	senders.Wait()
	p.AwaitEmpty(2 * time.Minute)

	told := acks.count()
	if told < kills {
		t.Fatalf("only %d messages were acknowledged, this proves nothing", told)
	}
	again := 0
	var ids [][]string // in each of them
	for _, box := range []string{filepath.Join(p.Maildirs(), "example.net", "one"), filepath.Join(p.GroupMaildirs(), "archive.example", "two")} {
		inCore := readBox(t, box)
		missing := 0
		for id, number := range acks.ids {
			switch copies := inCore[id]; {
			case copies.number != number || copies.count == 0:
				if missing++; missing < 10 {
					t.Errorf("%s: message %d, acknowledged as %s, is not in core (found %+v)", box, number, id, copies)
				}
			case copies.count > 1:
				t.Errorf("%s: message %s is in core %d times", box, id, copies.count)
			}
		}
		again += len(inCore) - told
		ids = append(ids, slices.Sorted(maps.Keys(inCore)))
	}
	if !slices.Equal(ids[0], ids[1]) {
		t.Errorf("%d messages came to the default core and %d to the group: one had one leg only", len(ids[0]), len(ids[1]))
	}
	for _, elsewhere := range []string{filepath.Join(p.Maildirs(), "archive.example"), filepath.Join(p.GroupMaildirs(), "example.net")} {
		if _, err := os.Stat(elsewhere); err == nil {
			t.Errorf("mail for another core came to %s", elsewhere)
		}
	}
	t.Logf("%d kills, %d messages acknowledged, all in core; %d copies more, of messages whose sender never saw the 250", kills, told, again)
}

// awaitMore waits until the edge acknowledges messages again, so that each kill hits a working
// node.
func awaitMore(t *testing.T, acks *acknowledged, before int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); acks.count() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no message was acknowledged for 20 seconds")
		}
	}
}

type found struct{ number, count int }

// readBox reads a Maildir and returns complete messages by spool id.
func readBox(t *testing.T, box string) map[string]found {
	t.Helper()
	all := make(map[string]found)
	for _, sub := range []string{"new", "cur"} {
		files, err := os.ReadDir(filepath.Join(box, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			_, ident, ok := strings.Cut(file.Name(), ".I")
			if !ok || len(ident) < 16 {
				t.Errorf("%s: no spool id in its name", file.Name())
				continue
			}
			text, err := os.ReadFile(filepath.Join(box, sub, file.Name()))
			if err != nil {
				t.Fatal(err)
			}
			number, err := whole(text)
			if err != nil {
				t.Errorf("%s: %v", file.Name(), err)
			}
			f := all[ident[:16]]
			all[ident[:16]] = found{number: number, count: f.count + 1}
		}
	}
	return all
}

// whole checks that a message is as it was sent, and returns its number.
func whole(text []byte) (int, error) {
	at := bytes.Index(text, []byte("Subject: number "))
	if at < 0 {
		return 0, fmt.Errorf("no subject in %q", text[:min(len(text), 200)])
	}
	body := text[at:]
	var number, again, size int
	if _, err := fmt.Sscanf(string(body[:min(len(body), 200)]), "Subject: number %d\r\n\r\nbegin %d %d", &number, &again, &size); err != nil {
		return 0, err
	}
	end := fmt.Appendf(nil, "end %d\r\n", number)
	if number != again || !bytes.HasSuffix(body, end) || len(body) < size-100 {
		return 0, fmt.Errorf("message %d is torn: %d bytes", number, len(body))
	}
	return number, nil
}
