package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// TestClock runs a node whose wall clock is wrong from the start and is set while the node is
// running or stopped. Core defers a message until after that; then the message arrives once, within
// the longest wait, and no notification is sent.
func TestClock(t *testing.T) {
	const years = "87600h"
	for _, tt := range []struct{ name, before, after string }{
		{"ahead, in a run", "0s", years},
		{"back, in a run", "0s", "-" + years},
		{"in 1986 from the start, then right", "-350400h", "0s"},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", tt.name, restart), func(t *testing.T) {
				clock := filepath.Join(t.TempDir(), "clock")
				set := func(by string) {
					t.Helper()
					if err := os.WriteFile(clock+".new", []byte(by), 0o600); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(clock+".new", clock); err != nil {
						t.Fatal(err)
					}
				}
				set(tt.before)
				t.Setenv("ANYMX_TEST_CLOCK", clock)
				core := scriptedCore(t, "nobody@")
				core.later.Store(true)
				p := pop.Start(t, pop.Options{Core: core.address, Config: "[queue]\nretry = [\"1s\"]\n"})
				c := dial(t, p.SMTP)
				id := c.send("a@example.com", "b@example.net", "clock")
				kit.EventuallyIn(t, 30*time.Second, "two attempts", func() bool { return core.put.Load() >= 2 })

				if restart {
					p.Edge().Stop(30 * time.Second)
				}
				set(tt.after)
				if restart {
					p.StartEdge()
				} else {
					kit.EventuallyIn(t, 30*time.Second, "the step in the status", func() bool {
						s, err := p.Control().Status(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						return s.Clock != nil && s.Clock.Steps == 1
					})
				}
				put := core.put.Load()
				kit.EventuallyIn(t, 30*time.Second, "two more attempts", func() bool { return core.put.Load() >= put+2 })
				second := dial(t, p.SMTP).send("a@example.com", "b@example.net", "second")
				if second <= id {
					t.Errorf("%s was accepted after %s", second, id)
				}
				core.later.Store(false)
				got := map[string]bool{}
				for range 2 {
					select {
					case m := <-core.messages:
						if m.from != "<a@example.com>" {
							t.Errorf("core got a message of %s:\n%s", m.from, m.text)
						}
						got[m.text[strings.Index(m.text, "Subject: "):][:14]] = true
					case <-time.After(30 * time.Second):
						t.Fatalf("core got %v", got)
					}
				}
				p.AwaitEmpty(30 * time.Second)
				if len(core.messages) != 0 || !got["Subject: clock"] || !got["Subject: secon"] {
					t.Errorf("core got %v, and %d messages more", got, len(core.messages))
				}
			})
		}
	}
}
