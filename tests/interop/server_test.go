// Package interop holds anymx against real mail software: swaks, Python's
// smtplib and Postfix as senders, Postfix and Dovecot as cores. Each server is a
// private instance with its own configuration, folders and ports, started by
// the test and ended by it. The packaged instances are neither configured nor
// started.
//
// Some tests hold a part against a server; where a sender stands in front, the
// real programs run. All assert at the far side: the file in the mailbox, the
// line in the other server's log.
package interop

import (
	"context"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/tests/kit"
	"anymx/tests/pop"
)

// TestMain has more tests run at once than there are processors: they wait for
// servers more than they compute. -parallel says otherwise.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))) // which is a number
	}
	os.Exit(pop.Main(m))
}

// patience is how long anything may take that is expected at once: the machine
// may be busy with something else, and Postfix leaves a message alone for a
// minute that it finds locked.
const patience = 90 * time.Second

// need skips the test where a program is missing. In CI that is a failure.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			cannot(t, "needs %s: %v", program, err)
		}
	}
}

// needServer is need for mail servers, which want root too.
func needServer(t testing.TB, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		cannot(t, "needs root: mail servers change to users of their own")
	}
	need(t, programs...)
}

// cannot skips the test with a reason, or fails it in CI, where everything is
// there.
func cannot(t testing.TB, reason string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(reason, args...)
	}
	t.Skipf(reason, args...)
}

// folder is a directory that other users can reach, unlike t.TempDir.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// freePort is a port of loopback that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	return portOf(t, kit.MustFreeAddress(t))
}

func portOf(t testing.TB, address string) int {
	t.Helper()
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return int(ap.Port())
}

// server is a mail server's process. Its log is shown when the test fails.
type server struct {
	addr string // of its SMTP or LMTP
	log  string // file
}

// start starts a server in its foreground, in a session of its own, and
// waits until it greets at addr. It is ended with the test: SIGTERM first, then
// the whole group is killed.
func start(t testing.TB, addr, logFile string, program string, args ...string) server {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	p, err := kit.Start(cmd, program, filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Signal(syscall.SIGTERM)
		if err := p.Wait(patience); err != nil {
			t.Error(err)
		}
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // whoever of its group is left
		if t.Failed() {
			text, _ := os.ReadFile(logFile)
			t.Logf("%s said:\n%s%s", program, p.Output(), text)
		}
	})
	if err := p.Await(t.Context(), patience, func(ctx context.Context) error { return smtptest.Greets(ctx, addr) }); err != nil {
		t.Fatal(err)
	}
	return server{addr: addr, log: logFile}
}

// logged waits for a line of the log that holds all of parts.
func (s server) logged(t testing.TB, parts ...string) {
	t.Helper()
	var text []byte
	ok := kit.Within(patience, func() bool {
		text, _ = os.ReadFile(s.log)
		for line := range strings.Lines(string(text)) {
			found := true
			for _, part := range parts {
				found = found && strings.Contains(line, part)
			}
			if found {
				return true
			}
		}
		return false
	})
	if !ok {
		t.Errorf("no line with %q in the log", parts)
	}
}
