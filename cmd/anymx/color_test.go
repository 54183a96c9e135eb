package main

import (
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/control/controltest"
)

// Problems in the status are red on a terminal; elsewhere nothing is colored.
func TestColors(t *testing.T) {
	n := controltest.New()
	troubled(n)
	socket, _ := controltest.Start(t, n, false)
	for _, test := range []struct {
		args     string
		terminal bool
		noColor  string // in the environment
		want     bool
	}{
		{"status", true, "", true},
		{"status", false, "", false},
		{"status", true, "1", false},
		{"status --no-color", true, "", false},
		{"status --json", true, "", false},
		{"queue list", true, "", false},
	} {
		var out, errOut strings.Builder
		p := &program{
			in: strings.NewReader(""), out: &out, errOut: &errOut, now: func() time.Time { return controltest.Now }, screen: noScreen,
			getenv: func(key string) string {
				return map[string]string{"ANYMX_CONTROL": socket, "NO_COLOR": test.noColor}[key]
			},
			terminal: func() bool { return false }, colors: func() bool { return test.terminal },
		}
		if code := p.run(t.Context(), strings.Split(test.args, " ")); code != exitOK {
			t.Fatalf("exit %d: %s", code, errOut.String())
		}
		text := out.String()
		if got := strings.Contains(text, "\x1b"); got != test.want {
			t.Errorf("%s: colored: %v\n%q", test.args, got, text)
		}
		if !test.want {
			continue
		}
		for _, want := range []string{
			"\n        \x1b[31m! takes no more mail: disk reserve\x1b[0m\n", "\nCore    \x1b[31m! 10.77.0.1:2525", "\nSessions  1,234 open of 20,000\n",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in\n%q", want, text)
			}
		}
	}
}
