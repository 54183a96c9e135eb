package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
)

// A typical session: banner, commands, help, the end.
func TestConsole(t *testing.T) {
	n := controltest.New()
	s := stage{node: n, files: map[string]string{"source": "ESP\n"}}.sit(t)
	banner := s.sees("ams1> ")
	for _, want := range []string{"ams1 (mx.example.net)", "Config    from ESP", "Phase     running since", "Ready     yes", "Core ", "Spool ", "Type help"} {
		if !strings.Contains(banner, want) {
			t.Errorf("the banner has no %q:\n%s", want, banner)
		}
	}
	if strings.Contains(banner, "\x1b") {
		t.Errorf("the banner has an escape sequence: %q", banner)
	}
	if bare := regexp.MustCompile(`[^\r]\n`).FindString(banner); bare != "" {
		t.Errorf("a line ends without CR: %q", bare)
	}
	for _, tt := range []struct{ line, want string }{
		{"status", "Sessions "},
		{"anymx status --ready", "ready\r\n"},
		{"status --json", `"phase": "running"`},
		{"queue list --limit 1", "more messages follow"},
		{"queue show " + id(1), id(1)},
		{"help", "'help queue'"},
		{"help log", "--follow"},
		{"log --help", "machine"},
		{"stauts", `unknown command "stauts" of 'anymx'; did you mean status?`},
		{"queue list --limit -3", "See 'queue list --help'."},
		{"queue hold 'x", "a quote is not closed"},
		{"network", "Routes (main table)"},
		{"config", "Source   ESP"},
		{"version", "node   "},
		{"exi\x7fit ; reboot", "takes no argument"},
	} {
		if got := s.runs(tt.line); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s", tt.line, got)
		}
	}
	s.types("logout\r")
	s.sees("Type help")
	s.sees("ams1> ")
	s.types("\x04")
	s.sees("Type help")
	s.sees("ams1> ")
}

// No flag, argument or command can name a file or another node, in any spelling.
func TestConsoleReachesNoFile(t *testing.T) {
	s := stage{node: controltest.New()}.sit(t)
	s.write("secret", "[node]\nhunter2 = true\n", 0o600)
	secret := filepath.Join(s.dir, "secret")
	s.sees("ams1> ")
	for _, tt := range []struct{ line, want string }{
		{"check " + secret, "no file can be named"},
		{"check --config " + secret, "can't be used at the console"},
		{"--config=" + secret + " check", "can't be used at the console"},
		{"status --control " + secret, "can't be used at the console"},
		{"status --control=" + secret, "can't be used at the console"},
		{"__complete check " + s.dir + "/", "Show what the node does"},
		{"--json __complete --config " + secret + " queue show ''", ""},
		{"completion bash", "unknown command"},
		{"image show " + secret, "anymx: "},
		{"console", "this is the console"},
		{"log " + secret, "unknown log"},
		{"log -n 0", "must be 1 to"},
		{"log -- --file=" + secret, "unknown log"},
		{"log edge bgp", "one argument too many"},
		{"help check " + secret, ""},
		{"cat " + secret, "unknown command"},
		{"status > " + secret, "takes no argument"},
		{"$(status)", "unknown command"},
	} {
		got := s.runs(tt.line)
		if !strings.Contains(got, tt.want) || strings.Contains(got, "hunter2") || strings.Contains(got, "root:") {
			t.Errorf("%s: %s", tt.line, got)
		}
	}
	if text, err := os.ReadFile(secret); err != nil || !strings.Contains(string(text), "hunter2") {
		t.Errorf("the file was changed: %q %v", text, err)
	}
}

// Changes that can't be undone need confirmation: the node's name or yes continues, anything else
// does not.
func TestConsoleAsks(t *testing.T) {
	n := controltest.New()
	s := stage{node: n}.sit(t)
	s.sees("ams1> ")
	for _, answer := range []string{"", "no\r", "ams\r", "\x03", "\x04"} {
		s.types("drain --wait 0\r")
		s.sees("ams1 is taken out of service. Type ams1 or yes to go on: ")
		if answer == "" {
			answer = "\r"
		}
		s.types(answer)
		s.sees("ams1> ")
		if len(n.Orders) > 0 {
			t.Fatalf("%q drained the node", answer)
		}
	}
	before := n.Len()
	s.types("queue delete " + id(3) + "\r")
	s.sees("yes to go on: ")
	s.types("ams1\r")
	s.sees("1 message deleted")
	s.sees("ams1> ")
	s.types("queue delete --all --state held\r") // asks by itself, and only once
	if got := s.sees("ams1> "); strings.Contains(got, "to go on") || n.Len() != before-1 {
		t.Errorf("%d of %d messages left: %s", n.Len(), before, got)
	}
	s.types("queue delete --all\r")
	if got := s.sees("Type yes to go on: "); strings.Count(got, "go on") != 1 {
		t.Error(got)
	}
	s.types("yes\r")
	s.sees("ams1> ")
	s.runs("drain --wait 0 --yes --reason 'kernel update'")
	if len(n.Orders) != 1 || n.Orders[0].Reason != "kernel update" {
		t.Errorf("orders %+v", n.Orders)
	}
}

// Ctrl-C ends a wait, but neither the drain nor the console.
func TestConsoleInterrupts(t *testing.T) {
	n := controltest.New()
	s := stage{node: n}.sit(t)
	s.sees("ams1> ")
	s.types("drain --yes\r")
	s.sees("graceful")
	s.types("status\r\x03") // discards what was typed ahead
	if got := s.sees("ams1> "); !strings.Contains(got, "the drain goes on") || !strings.Contains(got, "interrupted") {
		t.Error(got)
	}
	if got := s.runs("status --ready"); !strings.Contains(got, "ready") {
		t.Error(got)
	}
	s.types("statsu nonsense\x03")
	s.sees("ams1> ")
	if got := s.runs("status --ready"); strings.Contains(got, "unknown") {
		t.Error(got)
	}
	if len(n.Orders) != 1 || n.Resumes != 0 {
		t.Errorf("%d drains, %d resumes", len(n.Orders), n.Resumes)
	}
}

// The mode comes from the config, which is read again for each line.
func TestConsoleModes(t *testing.T) {
	n := controltest.New()
	s := stage{node: n, config: "[console]\nmode = 'view'\n"}.sit(t)
	s.sees("only shows")
	s.sees("ams1> ")
	for _, line := range []string{"drain --yes", "queue delete --all --yes", "reload", "shield block 192.0.2.7", "shield mode off", "resume", "drain --help"} {
		if got := s.runs(line); !strings.Contains(got, "this console only shows") {
			t.Errorf("%s: %s", line, got)
		}
	}
	if got := s.runs("queue list"); !strings.Contains(got, id(1)) {
		t.Error(got)
	}
	if got := s.runs("help"); strings.Contains(got, "drain") {
		t.Error(got)
	}
	if len(n.Orders) > 0 || n.Resumes > 0 {
		t.Error("the node was changed")
	}
	config, err := os.ReadFile(filepath.Join(s.dir, "anymx.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("new", strings.Replace(string(config), "view", "off", 1), 0o600)
	if err := os.Rename(filepath.Join(s.dir, "new"), filepath.Join(s.dir, "anymx.toml")); err != nil {
		t.Fatal(err)
	}
	s.types("\r")
	s.sees("switched off")
	s.types("drain --yes\r")
	s.sees("switched off")
	s.types("status\r")
	if got := s.sees("switched off"); strings.Contains(got, "> ") {
		t.Errorf("a prompt: %q", got)
	}
	s.write("new", strings.Replace(string(config), "view", "operate", 1), 0o600)
	if err := os.Rename(filepath.Join(s.dir, "new"), filepath.Join(s.dir, "anymx.toml")); err != nil {
		t.Fatal(err)
	}
	s.types("\r")
	s.sees("ams1> ")
}

// A node that comes up while the prompt is idle is shown; once the user types, no output comes in
// between.
func TestConsoleWaitsForTheNode(t *testing.T) {
	s := stage{none: true}.sit(t)
	s.sees("not configured")
	s.sees("anymx> ")
	s.write("problem", "/etc/anymx/anymx.toml:7:core.adresses: unknown key \x1b[2J\n", 0o600)
	banner := s.sees("anymx> ")
	if !strings.Contains(banner, `Problem   /etc/anymx/anymx.toml:7:core.adresses: unknown key \x1b[2J`) || strings.Contains(banner, "\x1b[2J") {
		t.Errorf("%q", banner)
	}
	n := controltest.New()
	socket, _ := controltest.Start(t, n, false)
	s.write("anymx.toml", fmt.Sprintf("[node]\nname = 'ams1'\ncontrol = %q\n", socket), 0o600)
	s.sees("Ready     yes")
	s.sees("ams1> ")
}

func TestConsoleIsNotInterruptedByNews(t *testing.T) {
	s := stage{}.sit(t)
	s.sees("anymx-edge is not up yet")
	s.sees("ams1> ")
	s.types("stat")
	s.sees("stat")
	s.write("problem", "news\n", 0o600)
	s.types("us\r")
	if got := s.sees("ams1> "); strings.Contains(got, "news") || !strings.Contains(got, "anymx-edge does not answer") {
		t.Errorf("%q", got)
	}
}

func TestConsoleWatch(t *testing.T) {
	n := controltest.New()
	seen := make(chan struct{}, 100)
	n.OnStatus = func(*api.Status) {
		select {
		case seen <- struct{}{}:
		default:
		}
	}
	s := stage{node: n}.sit(t)
	s.sees("ams1> ")
	for _, key := range []string{"q", "\x03", "\x1b[A", "\r"} {
		s.types("watch\r")
		s.sees("Sessions ")
		for len(seen) > 0 {
			<-seen
		}
		<-seen
		<-seen
		if key == "\x1b[A" {
			key = "q\x1b[A" // the second key is discarded with the first
		}
		s.types(key)
		s.sees("ams1> ")
	}
	if got := s.runs("status --ready"); !strings.Contains(got, "ready") {
		t.Error(got)
	}
}

// A terminal with a screen shows long text page by page; a serial line shows it at once.
func TestConsolePages(t *testing.T) {
	n := controltest.New()
	screen := stage{node: n, kind: "linux"}.sit(t)
	screen.sees("ams1> ")
	screen.types("help drain\r")
	if got := screen.sees("-- more"); strings.Count(got, "\n") != 24 { // the typed line, and 23
		t.Errorf("%d rows: %s", strings.Count(got, "\n"), got)
	}
	screen.types(" ")
	screen.sees("-- more")
	screen.types("q")
	if got := screen.sees("ams1> "); strings.Contains(got, "Flags") || strings.Contains(got, "interrupted") {
		t.Error(got)
	}
	screen.types("help drain\r")
	screen.sees("-- more")
	screen.types("\x03")
	screen.sees("ams1> ")
	if got := screen.runs("status --ready"); !strings.Contains(got, "ready\r\n") {
		t.Error(got)
	}
	serial := stage{node: n}.sit(t)
	serial.sees("ams1> ")
	if got := serial.runs("help drain"); strings.Contains(got, "more") || !strings.Contains(got, "--reason") {
		t.Error(got)
	}
}

// The journal's program gets fixed arguments and an empty environment, and its output can't control
// the terminal.
func TestConsoleLog(t *testing.T) {
	s := stage{node: controltest.New(), files: map[string]string{
		"journal": "#!/bin/sh\nprintf 'args %s;' \"$@\"\necho\nenv | sort | tr '\\n' ';'\nprintf '\\n\\033[2Jbad\\007\\tcut\\n'\n[ \"$5\" != --lines=7 ] || { echo 'no journal' >&2; exit 1; }\n",
	}}.sit(t)
	s.sees("ams1> ")
	got := s.runs("log edge -n 3")
	for _, want := range []string{
		"args --no-pager;args --quiet;args --output=short-iso;args --no-hostname;args --lines=3;args --unit=anymx-edge.service;",
		`\x1b[2Jbad\a    cut`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in: %s", want, got)
		}
	}
	if strings.Contains(got, "HOME=") || strings.Contains(got, "PAGER") || strings.Contains(got, "\x1b") || strings.Contains(got, "\a") {
		t.Errorf("%q", got)
	}
	if got := s.runs("log -n 7"); !strings.Contains(got, "anymx: journalctl: exit status 1 no journal") || !strings.Contains(got, "--unit=anymx-*.service") {
		t.Error(got)
	}
}

// A console whose input is a pipe reads its lines from it, and does not ask for confirmation.
func TestConsoleFromPipe(t *testing.T) {
	n := controltest.New()
	socket, _ := controltest.Start(t, n, false)
	var out strings.Builder
	p := &program{
		in: strings.NewReader("status --ready\ndrain\n" + strings.Repeat("x", 5000) + "\nnetwork"), out: &out, errOut: &out, now: time.Now,
		getenv:   func(key string) string { return map[string]string{"ANYMX_CONTROL": socket}[key] },
		terminal: func() bool { return false }, screen: noScreen,
	}
	code := p.run(t.Context(), []string{"--control", socket, "--config", filepath.Join(t.TempDir(), "none"), "console"})
	text := out.String()
	for _, want := range []string{"not configured", "ready\n", "add --yes if you mean it", "the limit is 1024", "Routes (main table)"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if code != exitOK || len(n.Orders) > 0 || strings.ContainsAny(text, "\r\x1b") {
		t.Errorf("exit %d: %q", code, text)
	}
}

// Every command of anymx has a right, and every flag is in it or among the refused ones, so that
// each new one needs a decision.
func TestConsoleRights(t *testing.T) {
	refused := []string{"config", "control", "machine", "dir", "spool export --dry-run"} // reads the folder itself
	p := &program{}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			path := strings.TrimPrefix(sub.CommandPath(), "anymx ")
			r, known := rights[path]
			if !known {
				t.Errorf("%s has no right at the console: give it one, or a reason why not", path)
				continue
			}
			if r.refused != "" {
				continue
			}
			sub.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
				if !slices.Contains(r.flags, f.Name) && !slices.Contains(refused, f.Name) && !slices.Contains(refused, path+" --"+f.Name) {
					t.Errorf("%s --%s: may it be used at the console? It is refused", path, f.Name)
				}
			})
			walk(sub)
		}
	}
	root := p.root()
	walk(root)
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "json" && f.Name != "no-color" && !slices.Contains(refused, f.Name) {
			t.Errorf("--%s is on every command: may it be used at the console?", f.Name)
		}
	})
}

func TestConsoleUpdateTakesNoFile(t *testing.T) {
	for arg, good := range map[string]bool{
		"https://updates.example.net/anymx.update": true, "http://192.0.2.1/x": true,
		"/var/lib/anymx/x": false, "x.update": false, "file:///etc/passwd": false, "https:x": false, "http:///x": false,
		"HTTP://x/y": false, "-": false, "": false, "ftp://x/y": false, "https:/x/y": false,
	} {
		if err := onlyURL(nil, []string{arg}); (err == nil) != good {
			t.Errorf("%q: %v", arg, err)
		}
	}
	if err := onlyURL(nil, nil); err != nil {
		t.Error(err)
	}
}

// Examples can be typed at the console: they need no shell, no other program, no file.
func TestConsoleExamples(t *testing.T) {
	l := &consoleLine{program: &program{}}
	for path, want := range map[string]string{
		"drain": "  drain --now --wait 0", "reload": "", "reboot": "  reboot\n  reboot --reason \"new memory\" --now",
		"update":      "  update https://releases.example.net/anymx_0.6.0_amd64.update --dry-run\n  update --status\n  update --rollback",
		"shield mode": "  shield mode generic",
	} {
		cmd, _, err := l.root().Find(strings.Fields(path))
		if err != nil {
			t.Fatal(err)
		}
		if got := exampleHere(cmd, rights[path]); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", path, got, want)
		}
	}
}

// When the line hangs up the console ends, and the command with it.
func TestConsoleHangsUp(t *testing.T) {
	n := controltest.New()
	s := stage{node: n}.sit(t)
	s.sees("ams1> ")
	s.types("drain --yes\r")
	s.sees("graceful")
	if err := s.master.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-s.ended:
		s.ended <- err
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}
