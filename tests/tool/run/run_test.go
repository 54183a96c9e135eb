package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/tests/pop"
)

// asProgram makes the test binary behave as the program.
const asProgram = "ANYMX_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(pop.Main(m))
}

// self returns a command that runs the program.
func self(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// TestRun runs `make run` twice on one state directory: everything arrives, the second run finds the
// mail of the first, and both end cleanly. For the second no client is installed.
func TestRun(t *testing.T) {
	bin, dir := pop.Build(t), t.TempDir()
	for i, want := range []struct{ client, state, stopped string }{
		{"", "new, with a throw-away certificate", "Stopped; 5 messages are stored"},
		{"net/smtp", "from an earlier run, 5 messages stored", "Stopped; 10 messages are stored"},
	} {
		var out bytes.Buffer
		err := run(t.Context(), &screen{out: &out, plain: true}, options{bin: bin, state: dir, client: want.client, once: true, anyPort: true})
		if err != nil {
			t.Fatalf("run %d: %v\n%s", i+1, err, out.String())
		}
		for _, s := range []string{want.state, want.stopped, "5 of 5 arrived, byte for byte as sent"} {
			if !strings.Contains(out.String(), s) {
				t.Errorf("run %d: output lacks %q", i+1, s)
			}
		}
		if n := len(regexp.MustCompile(`(?m)^ +reply +250 `).FindAllString(out.String(), -1)); n != 5 {
			t.Errorf("run %d: %d replies, want 5", i+1, n)
		}
		if t.Failed() {
			t.Fatalf("output:\n%s", out.String())
		}
	}
	// The files on disk, not counted by the program itself.
	files, err := filepath.Glob(filepath.Join(dir, "core/mail/example.net/*/new/*"))
	if err != nil || len(files) != 10 {
		t.Errorf("%d files in the Maildirs, error %v; want 10", len(files), err)
	}
}

// TestRunInterrupted does what an operator does: start the program in the foreground, send mail, and
// press Ctrl-C, which reaches the process group.
func TestRunInterrupted(t *testing.T) {
	bin, dir := pop.Build(t), t.TempDir()
	cmd := self(t, "-bin", bin, "-state", dir, "-any-port")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()

	lines := bufio.NewScanner(stdout)
	var seen []string
	until := func(pattern string) []string {
		t.Helper()
		re := regexp.MustCompile(pattern)
		for lines.Scan() {
			seen = append(seen, lines.Text())
			if found := re.FindStringSubmatch(lines.Text()); found != nil {
				return found
			}
		}
		_ = cmd.Wait()
		t.Fatalf("no line matches %q in:\n%s", pattern, strings.Join(seen, "\n"))
		return nil
	}
	core := until(`anymx-core +ready on \S+, process (\d+)`)[1]
	edge := until(`anymx-edge +ready on 127\.0\.0\.1:(\d+), process (\d+)`)
	until(`Running; Ctrl-C stops everything`)

	m := message{from: "sender@example.org", to: "you@example.net", data: []byte("Subject: hello\r\n\r\nhello\r\n")}
	if _, err := sendGo(t.Context(), endpoint{host: "127.0.0.1", port: edge[1]}, m, ""); err != nil {
		t.Error(err)
	}
	until(`arrived +\S*/core/mail/example\.net/you/new/\S+ hello`)

	// A second run on the same state must not touch it.
	second := self(t, "-bin", bin, "-state", dir, "-any-port", "-once")
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "is in use by another run") {
		t.Errorf("second run: %v\n%s", err, out)
	}

	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	until(`^Stopped; 6 messages are stored$`)
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	for _, pid := range []string{core, edge[2]} {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("process %s is still there", pid)
		}
	}
}

// TestRunFails covers errors before anything is sent.
func TestRunFails(t *testing.T) {
	bin := pop.Build(t)
	t.Run("no programs", func(t *testing.T) {
		err := run(t.Context(), &screen{out: io.Discard, plain: true}, options{bin: t.TempDir(), state: t.TempDir(), once: true, anyPort: true})
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "anymx-core") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("an edge that cannot start", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "edge"), 0o700); err != nil {
			t.Fatal(err)
		}
		// A file is in the place of the spool's folder.
		if err := os.WriteFile(filepath.Join(dir, "edge", "spool"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err := run(t.Context(), &screen{out: io.Discard, plain: true}, options{bin: bin, state: dir, once: true, anyPort: true})
		if err == nil || !strings.Contains(err.Error(), "anymx-edge has ended (exit status 1); its log") || !strings.Contains(err.Error(), "spool") {
			t.Errorf("error %v", err)
		}
	})
}

// TestPort occupies a port with this process.
func TestPort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out bytes.Buffer
	p := port{name: "smtp", want: l.Addr().(*net.TCPAddr).Port}
	if err := p.find(&screen{out: &out, plain: true}); err != nil {
		t.Fatal(err)
	}
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if p.got == p.want || !strings.Contains(out.String(), "is in use by "+strings.TrimSpace(string(name))+" (process ") {
		t.Errorf("got port %d for %d, said %q", p.got, p.want, out.String())
	}
}

// TestArrive holds that a changed or missing message is noticed.
func TestArrive(t *testing.T) {
	const id, trace = "06fyx1dwmr000000", "Received: from x\r\n\tby mx.example.net with ESMTP id 06fyx1dwmr000000;\r\n\tnow\r\n"
	const sent = "Subject: x\r\n\r\none\r\n.\r\ntwo\r\n"
	differs := errDiffers.Error()
	for _, tt := range []struct {
		name, stored string
		want         string // "": found
	}{
		{"as sent", trace + sent, ""},
		{"with the system's line ends", strings.ReplaceAll(trace+sent, "\r\n", "\n"), ""},
		{"a line lost", trace + "Subject: x\r\n\r\none\r\ntwo\r\n", differs},
		{"a line added", trace + sent + "\r\n", differs},
		{"more than trace fields before", trace + "\r\nhello\r\n" + sent, differs},
		{"another protocol", strings.ReplaceAll(trace, "ESMTP", "ESMTPS") + sent, differs},
		{"another id", strings.ReplaceAll(trace, id, "06fyx1dwmr000001") + sent, "did not arrive"},
		{"another message", "Subject: y\r\n\r\ny\r\n", "did not arrive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &store{dir: t.TempDir()}
			box := filepath.Join(s.dir, "example.net", "x", "new")
			if err := os.MkdirAll(box, 0o700); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(box, "1")
			if err := os.WriteFile(file, []byte(tt.stored), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			got, err := s.arrive(ctx, id, message{protocols: []string{"ESMTP"}, data: []byte(sent)})
			switch {
			case tt.want == "" && (err != nil || got != file):
				t.Errorf("%q, error %v; want %q", got, err, file)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestCertify holds that a certificate is made once, and replaced before it expires.
func TestCertify(t *testing.T) {
	st, now := &state{dir: t.TempDir()}, time.Now()
	for _, tt := range []struct {
		at   time.Time
		want bool
	}{{now, true}, {now.AddDate(0, 0, 80), false}, {now.AddDate(0, 0, 89).Add(time.Hour), true}, {now.AddDate(0, 0, 90), false}} {
		if made, err := st.certify(tt.at); err != nil || made != tt.want {
			t.Errorf("after %v: made %v, error %v; want %v", tt.at.Sub(now), made, err, tt.want)
		}
	}
}
