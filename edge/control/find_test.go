package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketOf(t *testing.T) {
	const standard = "/run/anymx/edge.sock"
	dir := t.TempDir()
	for i, tt := range []struct {
		text, want, problem string
	}{
		{text: "[node]\ncontrol = \"/x/y.sock\"\n", want: "/x/y.sock"},
		{text: "", want: standard},
		{text: "[node]\nname = \"ams1\"\n", want: standard},
		{text: "[node]\ncontrol = \"/x/y.sock\"\nnmae = 7\n[ingress]\nlisten = 3\n[nonsense]\n", want: "/x/y.sock"},
		{text: "[node\n", problem: "give it by --control"},
		{text: "[node]\ncontrol = 7\n", problem: "give it by --control"},
	} {
		file := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := SocketOf(file, false)
		if tt.problem == "" && (err != nil || got != tt.want) {
			t.Errorf("%q: %q, %v; want %q", tt.text, got, err, tt.want)
		}
		if tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
			t.Errorf("%q: error %v does not say %q", tt.text, err, tt.problem)
		}
	}
	missing := filepath.Join(dir, "missing")
	if got, err := SocketOf(missing, false); err != nil || got != standard {
		t.Errorf("no file: %q, %v", got, err)
	}
	if _, err := SocketOf(missing, true); err == nil {
		t.Error("a file that was asked for and is missing is no error")
	}
}

func FuzzSocketIn(f *testing.F) {
	for _, s := range []string{"", "[node]\ncontrol=\"/x\"", "node.control = '''/x'''", "[[node]]\n", "node = {control=\"x\"}", "\xff", "[node]\ncontrol=\"\\u0000\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) { socketIn(text) }) // it must not panic
}
