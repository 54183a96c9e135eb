package core

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serverEnv names the store of a server that the test will kill.
const serverEnv = "ANYMX_CORE_TEST_SERVER"

// serveUntilKilled writes its addresses, SMTP and LMTP, to standard output.
func serveUntilKilled(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server, err := New(Options{Hostname: hostname, Dir: dir, DiskReserve: 1})
	if err != nil {
		fail(err)
	}
	for _, lmtp := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fail(err)
		}
		fmt.Println(l.Addr())
		go func() { fail(server.Serve(l, lmtp)) }()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the test, even a failed one
	os.Exit(0)
}

// process is such a server.
type process struct {
	cmd        *exec.Cmd
	stdin      io.Closer
	smtp, lmtp string
}

func spawn(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], "-test.run=^$")}
	p.cmd.Env = append(os.Environ(), serverEnv+"="+dir)
	p.cmd.Stderr = os.Stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for _, addr := range []*string{&p.smtp, &p.lmtp} {
		line, err := r.ReadString('\n')
		if err != nil {
			p.kill()
			t.Fatal("server did not start", err)
		}
		*addr = strings.TrimSpace(line)
	}
	return p
}

// kill sends SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
}

// delivery is one message of the kill test and its outcome.
type delivery struct {
	transaction
	promised map[string]bool // recipients that were answered with 250
}

// TestKill kills the server with SIGKILL at random moments under load, restarts it and resends what
// was not acknowledged. Each recipient that was ever acknowledged has the complete message, and
// none has it twice.
func TestKill(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	dir := filepath.Join(t.TempDir(), "store")
	var all, left []*delivery // left: to send again
	for round := range rounds {
		const fresh = 80
		for i := range fresh {
			d := &delivery{transaction: transaction{ident: newIdent()}, promised: map[string]bool{}}
			for j := range 1 + i%3 {
				d.to = append(d.to, fmt.Sprintf("b%d@d%d.example", (i+j)%9, i%4))
			}
			d.body = body(d.ident, 500+i%5*4000)
			all, left = append(all, d), append(left, d)
		}
		p := spawn(t, dir)
		enough := 1 + rand.IntN(fresh)
		left = deliverUntil(p, left, func(acknowledged int) {
			if acknowledged == enough {
				_ = p.cmd.Process.Kill()
			}
		})
		p.kill()
		t.Logf("round %d: killed at %d, %d of %d messages acknowledged", round, enough, len(all)-len(left), len(all))
	}
	p := spawn(t, dir)
	left = deliverUntil(p, left, func(int) {})
	p.kill()
	if len(left) > 0 {
		t.Fatalf("%d messages were never acknowledged", len(left))
	}
	checkDeliveries(t, dir, all)
}

// deliverUntil sends messages by SMTP and LMTP until there are none or the server is gone. It
// returns those that were not acknowledged for all.
func deliverUntil(p *process, messages []*delivery, acknowledged func(n int)) (left []*delivery) {
	work := make(chan *delivery, len(messages))
	for _, d := range messages {
		work <- d
	}
	close(work)
	var count atomic.Int64
	var running sync.WaitGroup
	for k := range 8 {
		running.Go(func() {
			addr, lmtp := p.smtp, false
			if k%2 == 1 {
				addr, lmtp = p.lmtp, true
			}
			deliverAll(addr, lmtp, work, func() { acknowledged(int(count.Add(1))) })
		})
	}
	running.Wait()
	for _, d := range messages {
		if len(d.promised) < len(d.to) {
			left = append(left, d)
		}
	}
	return left
}

// deliverAll sends messages until there are none or the server is gone.
func deliverAll(addr string, lmtp bool, work <-chan *delivery, acknowledged func()) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	hello := "EHLO edge.test\r\n"
	if lmtp {
		hello = "LHLO edge.test\r\n"
	}
	if _, err := io.WriteString(conn, hello); err != nil {
		return
	}
	for range 2 {
		if _, err := c.reply(); err != nil {
			return
		}
	}
	for d := range work {
		if _, err := io.WriteString(conn, d.text()); err != nil {
			return
		}
		for range 2 + len(d.to) {
			if _, err := c.reply(); err != nil {
				return
			}
		}
		for i := range d.to {
			if i == 0 || lmtp {
				r, err := c.reply()
				if err != nil || !strings.HasPrefix(r, "250 2.0.0") {
					return
				}
			}
			d.promised[d.to[i]] = true
		}
		acknowledged()
	}
}

func checkDeliveries(t *testing.T, dir string, all []*delivery) {
	t.Helper()
	wanted := make(map[string]string) // path to content
	for _, d := range all {
		who, _ := parseIdentity(d.ident)
		for _, to := range d.to {
			local, domain, _ := strings.Cut(to, "@")
			wanted[filepath.Join(dir, "mail", domain, local, "new", fileName(who, time.Time{}))] = d.body
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "mail", "*", "*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if got := content(t, file); got != wanted[file] {
			t.Errorf("%s is not what was sent", file)
		}
	}
	if len(files) != len(wanted) {
		t.Errorf("%d files, want %d", len(files), len(wanted))
	}
}
