package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	rtmetrics "runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"

	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/spool"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// process is a server in a process of its own, this test binary run again, so
// that what it uses can be told from what its clients use.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

const processEnv = "ANYMX_TEST_SERVER"

// figures are what a process says of itself.
type figures struct {
	Addr   string
	Live   int64 // bytes of the heap in use
	Stacks int64 // bytes
	RSS    int64 // bytes, as the kernel sees it
	Conns  int
}

// startProcess starts the server. env may hold GOGC and the like.
func startProcess(t testing.TB, env ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe)}
	p.cmd.Env = append(append(os.Environ(), processEnv+"=1"), env...)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.in.Close() // which ends it
		_ = p.cmd.Wait()
	})
	p.addr = p.ask("address").Addr
	return p
}

func (p *process) ask(what string) (f figures) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		p.t.Fatal(err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		p.t.Fatal("server process: ", err)
	}
	if err := json.Unmarshal(line, &f); err != nil {
		p.t.Fatalf("server process: %q", line)
	}
	return f
}

// cpu is the time that the process has used, to a hundredth of a second.
func (p *process) cpu() time.Duration {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * 10 * time.Millisecond
}

// serveProcess is main in the process: it answers a line for each line of its
// input, and ends with that.
func serveProcess() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	sp, err := spool.Open(spool.Options{Dir: "spool", FS: vfs.NewMem()})
	if err != nil {
		panic(err)
	}
	srv := New(Options{Node: "test1", Settings: discarding(), Spool: sp, Accepted: func(m *spool.Message) { m.Release() }})
	registry := srv.Registry()
	go func() { _ = srv.Serve(l) }()
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		switch input.Text() {
		case "collect":
			runtime.GC()
			runtime.GC() // which empties the pools
		case "free":
			debug.FreeOSMemory()
		}
		f := measure()
		f.Addr, f.Conns = l.Addr().String(), registry.Open()
		line, _ := json.Marshal(f)
		fmt.Println(string(line))
	}
}

func measure() figures {
	samples := []rtmetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	rtmetrics.Read(samples)
	f := figures{Live: int64(samples[0].Value.Uint64()), Stacks: int64(samples[1].Value.Uint64())}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if rss, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			f.RSS, _ = strconv.ParseInt(strings.Fields(rss)[0], 10, 64)
			f.RSS <<= 10
		}
	}
	return f
}

// discarding are settings of a server that takes every message, and stores none: what is measured is
// not the spool.
func discarding() Settings {
	set := Settings{
		Wire: wire.Settings{TLS: serverTLS()},
		Rules: &policy.Rules{
			Hostname: hostname, MaxMessage: 64 << 20,
			Domains: policy.NewDomains([]policy.Domain{{Name: "mx.test"}}),
		},
	}
	set.Checks.Add(policy.AtBody, func(context.Context, *policy.Facts) policy.Verdict {
		return policy.Verdict{Action: policy.Discard}
	})
	return set
}

// TestIdleMemory measures what a connection costs the server while its client
// is silent.
func TestIdleMemory(t *testing.T) {
	conns := 2000
	if testing.Short() {
		conns = 200
	}
	for _, test := range []struct {
		when string
		tls  bool
		say  string
		most float64 // KiB, resident; 0: only reported
	}{
		{when: "after EHLO", most: 6.5},
		{when: "under TLS", tls: true},
		{when: "after a message", say: benchEnvelope + "BDAT 3 LAST\r\nx\r\n"},
	} {
		t.Run(test.when, func(t *testing.T) {
			conns := conns
			if test.tls {
				conns /= 5 // handshakes take their time
			}
			p := startProcess(t)
			idle := func(n int) {
				for range n {
					c := dialIdle(t, p.addr, test.tls, test.say)
					t.Cleanup(func() { _ = c.Close() })
				}
			}
			idle(100) // what is needed once is not a connection's
			before := p.ask("collect")
			idle(conns)
			grown := p.ask("as it is")
			after := p.ask("collect")
			freed := p.ask("free")
			if want := conns + 100; freed.Conns != want {
				t.Fatalf("%d connections, not %d", freed.Conns, want)
			}
			each := func(was, is int64) float64 { return float64(is-was) / float64(conns) / 1024 }
			resident := each(before.RSS, freed.RSS)
			t.Logf("KiB for each of %d connections: resident %.1f, after a collection %.1f, without free memory %.1f, of that heap %.1f and stacks %.1f",
				conns, each(before.RSS, grown.RSS), each(before.RSS, after.RSS), resident,
				each(before.Live, after.Live), each(before.Stacks, after.Stacks))
			if test.most > 0 && resident > test.most && !raceDetector {
				t.Errorf("resident %.1f KiB for each, more than %.1f", resident, test.most)
			}
		})
	}
}

// dialIdle connects, says EHLO and more, and reads all replies.
func dialIdle(t testing.TB, addr string, withTLS bool, say string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	replies := 2
	if withTLS {
		if _, err := io.WriteString(conn, "STARTTLS\r\n"); err != nil {
			t.Fatal(err)
		}
		readReplies(t, bufio.NewReaderSize(conn, 512), 2)
		conn, replies = tls.Client(conn, clientTLS()), 1
	}
	if say != "" {
		replies += strings.Count(benchEnvelope, "\n") + 1
	}
	if _, err := io.WriteString(conn, "EHLO c.test\r\n"+say); err != nil {
		t.Fatal(err)
	}
	readReplies(t, bufio.NewReaderSize(conn, 512), replies)
	return conn
}

// readReplies reads n replies, of any number of lines.
func readReplies(t testing.TB, r *bufio.Reader, n int) {
	t.Helper()
	for n > 0 {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line[3] == ' ' {
			n--
		}
	}
}
