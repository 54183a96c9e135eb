package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/tests/kit"
	"anymx/tests/pop"
)

// loggedError reports whether a program has logged an ERROR containing text.
func loggedError(p *pop.PoP, text string) bool {
	for line := range strings.Lines(p.Edge().Log()) {
		if strings.Contains(line, "level=ERROR") && strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// A node is killed with mail queued for an unreachable core, and its spool is damaged before the
// restart. The node stays up but unready, deletes nothing, and reports why; the quarantined files
// can be exported, and the node is in service again with an empty spool.
func TestDamagedSpool(t *testing.T) {
	for name, wreck := range map[string]func(t *testing.T, spool string){
		"engine lost":  func(t *testing.T, spool string) { remove(t, spool+"/engine") },
		"VERSION lost": func(t *testing.T, spool string) { remove(t, spool+"/VERSION") },
		"a flipped bit": func(t *testing.T, spool string) {
			logs, err := filepath.Glob(spool + "/engine/*.log")
			if err != nil || len(logs) == 0 {
				t.Fatalf("no log: %v", err)
			}
			log := logs[len(logs)-1]
			data, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			data[bytes.Index(data, []byte("small 3"))] ^= 4
			if err := os.WriteFile(log, data, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pop.Start(t, pop.Options{CoreConfig: `backoff_max = "1s"`})
			p.EmbeddedCore().Kill()
			c := dial(t, p.SMTP)
			texts := map[string]string{}
			for i := range 6 {
				subject := fmt.Sprint("small ", i)
				if i >= 3 {
					subject = fmt.Sprint("large ", i, "\r\n\r\n", strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 4000))
				}
				if i == 2 {
					subject = "small 3"
				}
				texts[c.send("a@b.example", "box@example.net", subject)] = subject
			}
			p.Edge().Kill()
			spool := filepath.Join(p.Dir, "edge", "spool")
			if _, err := os.Stat(spool); err != nil {
				t.Fatal(err)
			}
			wreck(t, spool)
			before, err := filepath.Glob(spool + "/bodies/*")
			if err != nil || len(before) < 3 {
				t.Fatalf("body files: %v, %v", before, err)
			}
			p.LaunchEdge()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			kit.EventuallyIn(t, 20*time.Second, "the control socket answers", func() bool {
				s, err := p.Control().Status(ctx)
				return err == nil && !s.Ready.OK && strings.Contains(s.Spool.Problem, "is damaged and was not opened")
			})
			if !loggedError(p, "is damaged and was not opened") {
				t.Errorf("log:\n%s", p.Edge().Tail(20))
			}
			r, err := p.Control().Spool(ctx)
			if err != nil || r.Sound() || r.BodyFiles != 3 {
				t.Errorf("check: %+v, %v", r, err)
			}
			for _, file := range before {
				if _, err := os.Stat(file); err != nil {
					t.Errorf("a body is gone: %v", err)
				}
			}
			check := func(folder, by string) {
				t.Helper()
				for id, text := range texts {
					if name == "engine lost" && strings.HasPrefix(text, "small") {
						continue // they were in the engine
					}
					got, err := os.ReadFile(filepath.Join(folder, id+".eml"))
					if err != nil || !strings.HasSuffix(string(got), "Subject: "+text+"\r\n\r\nhello\r\n") {
						t.Errorf("%s: %s was not exported as it was sent: %d bytes, %v", by, id, len(got), err)
					}
				}
			}
			written, err := p.Control().ExportSpool(ctx, func(api.SpoolMessage) {})
			if err != nil || len(written.To) != 1 {
				t.Fatalf("export by the node that stands still: %+v, %v", written, err)
			}
			check(written.To[0], "the node that stands still")
			aside, err := p.Control().SetSpoolAside(ctx)
			if err != nil {
				t.Fatal(err)
			}
			kit.EventuallyIn(t, 20*time.Second, "the node is ready with a new spool", func() bool {
				s, err := p.Control().Status(ctx)
				return err == nil && s.Ready.OK && s.Spool.Messages == 0
			})
			to := filepath.Join(t.TempDir(), "export")
			export := pop.Run(t, pop.Build(t)+"/anymx", "spool", "export", "--dir", aside.To, to)
			export.Wait(20 * time.Second)
			if t.Failed() {
				t.Log(export.Tail(20))
			}
			check(to, "anymx")
			var messages int
			for i, folders := range []int{1, 0} { // first the quarantined messages, then nothing
				written, err := p.Control().ExportSpool(ctx, func(api.SpoolMessage) { messages++ })
				if err != nil || len(written.To) != folders {
					t.Fatalf("export %d by the node: %+v, %v", i+1, written, err)
				}
				if folders > 0 {
					check(written.To[0], "the node in service")
				}
			}
			if messages < 3 {
				t.Errorf("%d messages were told of", messages)
			}
			dial(t, p.SMTP).send("a@b.example", "box@example.net", "after it")
			p.StartCore()
			p.AwaitEmpty(30 * time.Second)
			if got := arrived(t, p, "box"); len(got) != 1 {
				t.Errorf("%d messages arrived", len(got))
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
