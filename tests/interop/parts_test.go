package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/core"
	"anymx/edge/delivery/handoff"
	"anymx/edge/delivery/smtpc"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/spool"
)

// filledSpool is the variable that makes TestFillSpool a process that fills the spool it names.
const filledSpool = "ANYMX_INTEROP_FILLED_SPOOL"

// TestFillSpool stores messages with a front and cuts until it is killed, and writes a line for
// each that is stored: its number, and the size and hash of what core should get.
func TestFillSpool(t *testing.T) {
	dir := os.Getenv(filledSpool)
	if dir == "" {
		return // it has work in a process of TestPartsAfterKill
	}
	s, err := spool.Open(spool.Options{Dir: dir, InlineMax: 8 << 10, Memory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 0; ; n++ {
		env := &mail.Envelope{
			Arrived: time.Now(), Sender: mail.Path{Local: "a", Domain: "example.org"}, Content: mail.ContentKnown,
			Recipients: []mail.Recipient{{Path: mail.Path{Local: "b", Domain: "example.net"}}},
			Front:      fmt.Appendf(nil, "Received: by edge\r\nX-Front: %d\r\n", n),
		}
		var body, want bytes.Buffer
		want.Write(env.Front)
		for i := range 1 + rng.IntN(400) {
			line := fmt.Sprintf("Authentication-Results: forged %d\r\n", i)
			if i%3 == 0 && len(env.Cuts) < mail.MaxCuts {
				env.Cuts = append(env.Cuts, mail.Span{Start: int64(body.Len()), End: int64(body.Len() + len(line))})
			} else {
				line = fmt.Sprintf("X-Line: .%d\r\n", i)
				want.WriteString(line)
			}
			body.WriteString(line)
		}
		rest := fmt.Sprintf("Subject: %d\r\n\r\n.hello %d\r\n", n, n)
		body.WriteString(rest)
		want.WriteString(rest)
		d, err := s.BeginDraft()
		if err == nil {
			_, err = d.Write(body.Bytes())
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := d.Commit(env)
		if err != nil {
			t.Fatal(err)
		}
		m.Release()
		fmt.Printf("stored %d %d %x\n", n, want.Len(), sha256.Sum256(want.Bytes()))
	}
}

// fillAndKill returns what was stored, by subject, when the process was killed.
func fillAndKill(t *testing.T, dir string) map[string]string {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFillSpool$")
	c.Env = append(os.Environ(), filledSpool+"="+dir)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 4 && f[0] == "stored" {
			stored[f[1]] = f[2] + " " + f[3]
		}
		if len(stored) == 200 {
			_ = c.Process.Kill() // and the loop goes on to what was written before
		}
	}
	_ = c.Wait() // killed
	if len(stored) < 200 {
		t.Fatalf("only %d messages were stored", len(stored))
	}
	return stored
}

// What the embedded core has of a message is front + body - cuts, byte by byte, also if the process
// that stored it was killed.
func TestPartsAfterKill(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	want := fillAndKill(t, dir)
	inCore := t.TempDir()
	server, err := core.New(core.Options{Hostname: "core.test", Dir: inCore, DiskReserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l, false) }()
	t.Cleanup(func() {
		_ = server.Close(context.Background())
		<-served
	})
	s, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h, err := handoff.New(handoff.Options{Addresses: []string{l.Addr().String()}, TLSMode: smtpc.TLSNever, Hello: "edge.test", IdleTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	count := 0
	err = s.Each(func(e spool.Entry) error {
		count++
		m, err := s.Load(e.ID)
		if err != nil {
			return err
		}
		results, err := h.Deliver(t.Context(), &queue.Attempt{Message: m, Pending: []int{0}, Number: 1, Started: time.Now()})
		if err == nil && results[0].Failure != nil {
			err = results[0].Failure
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	for _, m := range mailbox(t, filepath.Join(inCore, "mail", "example.net", "b"), count) {
		got[m.subject()] = m.raw
	}
	for number, what := range want {
		var size int
		var sum string
		_, _ = fmt.Sscan(what, &size, &sum)
		raw := got[number]
		if len(raw) < size {
			t.Errorf("message %s: %d bytes in core, want %d", number, len(raw), size)
			continue
		}
		ours := raw[len(raw)-size:]
		if fmt.Sprintf("%x", sha256.Sum256(ours)) != sum || bytes.Contains(raw, []byte("forged")) {
			t.Errorf("message %s is not front + body - cuts in core: %.200q", number, ours)
		}
	}
	t.Logf("%d messages were told of and %d are in core", len(want), count)
}
