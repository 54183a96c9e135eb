package main

import (
	"bufio"
	"context"
	"fmt"
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

// binary is the program, built by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(pop.MainOf(m, "anymx-core", &binary)) }

// write writes a config to a file. DIR in it becomes the directory that is returned.
func write(t *testing.T, text string) (file, dir string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "anymx.toml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, dir
}

const good = `[node]
name = "ams1"
hostname = "core.test"
state_dir = "DIR/edge"
[core]
addresses = ["127.0.0.1:2525"]
[mailstore]
listen = ["127.0.0.1:0"]
lmtp_listen = ["127.0.0.1:0"]
directory = "DIR/store"
`

// process is one run of the binary.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *bufio.Reader
	smtp   string
	lmtp   string
}

// start runs the program until it listens.
func start(t *testing.T, file string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, "-config", file)}
	pipe, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	p.stderr = bufio.NewReader(pipe)
	listening := regexp.MustCompile(`msg=listening address=(\S+) lmtp=(\w+)`)
	for p.smtp == "" || p.lmtp == "" {
		line, err := p.stderr.ReadString('\n')
		if err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		switch m := listening.FindStringSubmatch(line); {
		case m == nil:
		case m[2] == "true":
			p.lmtp = m[1]
		default:
			p.smtp = m[1]
		}
	}
	return p
}

// stop sends sig and expects a clean end. It returns what was logged.
func (p *process) stop(sig os.Signal) string {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	rest, _ := io.ReadAll(p.stderr)
	if err := p.cmd.Wait(); err != nil || !strings.Contains(string(rest), "msg=stopped") {
		p.t.Errorf("%v\n%s", err, rest)
	}
	return string(rest)
}

// deliver hands over one message and leaves the connection open.
func deliver(t *testing.T, address, hello, ident string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "%s edge.test\r\nXFORWARD IDENT=%s\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<b@example.net>\r\n"+
		"BDAT 7 LAST\r\nhello\r\n", hello, ident)
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil || line[0] >= '4' {
			t.Fatalf("%q, %v", line, err)
		}
		if strings.HasPrefix(line, "250 2.0.0 ") && strings.HasSuffix(line, "stored\r\n") { // LMTP names the recipient before
			return conn
		}
	}
}

// TestProgram runs the program twice on the same store, with mail by SMTP and LMTP, and ends it by
// each signal while clients are idle.
func TestProgram(t *testing.T) {
	file, dir := write(t, good)
	first := start(t, file)
	deliver(t, first.smtp, "EHLO", "06fwjm7e0r002pzg.ams1")
	deliver(t, first.lmtp, "LHLO", "06fwjm7e0r002pzg.ams1")
	if log := first.stop(syscall.SIGTERM); !strings.Contains(log, `msg="message stored" ident=06fwjm7e0r002pzg.ams1`) {
		t.Error(log)
	}

	second := start(t, file)
	deliver(t, second.smtp, "EHLO", "06fwjm7e0r002pzg.ams1")
	deliver(t, second.smtp, "EHLO", "06fwjm7e0r002pzg.ams2")
	second.stop(syscall.SIGINT)

	files, err := filepath.Glob(filepath.Join(dir, "store", "mail", "example.net", "b", "new", "*"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(text), "Return-Path: <a@sender.example>\r\nReceived: ") || !strings.HasSuffix(string(text), "+0000\r\nhello\r\n") {
			t.Errorf("%q, %v", text, err)
		}
	}
}

// TestRefuses checks that the program refuses to start with a line for each problem on standard
// error, and exits with 1.
func TestRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name, config string
		want         string // * matches anything
		code         int
		args         []string
	}{
		{"unknown key", good + "colour = 1\n", "anymx-core: DIR/anymx.toml:11:mailstore.colour: unknown key\n", 1, nil},
		{"bad value", strings.Replace(good, `lmtp_listen = ["127.0.0.1:0"]`, `lmtp_listen = ["here"]`, 1), "anymx-core: DIR/anymx.toml:9:mailstore.lmtp_listen[0]*", 1, nil},
		{"no section", good[:strings.Index(good, "[mailstore]")], "anymx-core: DIR/anymx.toml*mailstore: missing: this program needs a [mailstore] section*", 1, nil},
		{"no TOML", "[node", "anymx-core: DIR/anymx.toml:1:*", 1, nil},
		{"no file", "", "anymx-core: config: open DIR/none.toml: no such file or directory\n", 1, []string{"-config", "DIR/none.toml"}},
		{"address taken", strings.Replace(good, `lmtp_listen = ["127.0.0.1:0"]`, `lmtp_listen = ["`+taken.Addr().String()+`"]`, 1), "*anymx-core: listen: listen tcp " + taken.Addr().String() + ": bind: address already in use\n", 1, nil},
		{"directory in the way", strings.Replace(good, `"DIR/store"`, `"DIR/anymx.toml/x"`, 1), "anymx-core: store: *DIR/anymx.toml*not a directory\n", 1, nil},
		{"argument", good, "*anymx-core takes mail*", 2, []string{"start"}},
		{"flag", good, "flag provided but not defined: -x\nanymx-core takes mail*", 2, []string{"-x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file, dir := write(t, tt.config)
			args := []string{"-config", file}
			for i, arg := range tt.args {
				if i == 0 {
					args = nil
				}
				args = append(args, strings.ReplaceAll(arg, "DIR", dir))
			}
			code, out := result(t, args...)
			pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.ReplaceAll(tt.want, "DIR", dir)), `\*`, `.*`)
			if code != tt.code || !regexp.MustCompile("^(?s:"+pattern+")$").MatchString(out) {
				t.Errorf("exit %d\n%s\nwant %s", code, out, tt.want)
			}
		})
	}
}

// result runs the program to its end, and returns its exit code and output.
func result(t *testing.T, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func TestHelp(t *testing.T) {
	code, out := result(t, "-help")
	for _, want := range []string{"Usage: anymx-core [-config FILE]", "-version", "Example", "[mailstore]\n  listen = ["} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	if code, out = result(t, "-version"); code != 0 || strings.TrimSpace(out) == "" {
		t.Errorf("exit %d, %q", code, out)
	}
}
