package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anymx/edge/config"
	"anymx/edge/config/configtest"
)

func TestSocketsOf(t *testing.T) {
	const network = "/run/anymx/net.sock"
	standard := Sockets{Node: "/run/anymx/edge.sock", Network: network}
	own := Sockets{Node: "/x/y.sock", Network: network}
	dir := t.TempDir()
	for i, tt := range []struct {
		text    string
		want    Sockets
		problem string
	}{
		{text: "[node]\ncontrol = \"/x/y.sock\"\n", want: own},
		{text: "", want: standard},
		{text: "[node]\nname = \"ams1\"\n", want: standard},
		{text: "[node]\ncontrol = \"/x/y.sock\"\nnmae = 7\n[ingress]\nlisten = 3\n[nonsense]\n", want: own},
		{text: "[node]\ncontrol = \"/x/y.sock\"\n[bgp]\ncontrol = \"/x/bgp.sock\"\n", want: Sockets{Node: "/x/y.sock", Speaker: "/x/bgp.sock", Network: network}},
		{text: "[bgp]\nasn = 64512\n[[bgp.peer]]\n", want: Sockets{Node: "/run/anymx/edge.sock", Speaker: "/run/anymx/bgp.sock", Network: network}},
		{text: "[net]\ncontrol = \"/x/net.sock\"\nrepair = 7\n", want: Sockets{Node: "/run/anymx/edge.sock", Network: "/x/net.sock"}},
		{text: "[net]\ncontrol = 7\n", problem: "give it by --control"},
		{text: "[node\n", problem: "give it by --control"},
		{text: "[node]\ncontrol = 7\n", problem: "give it by --control"},
	} {
		file := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := SocketsOf(file, false)
		if tt.problem == "" && (err != nil || got != tt.want) {
			t.Errorf("%q: %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
		if tt.problem != "" && (err == nil || !strings.Contains(err.Error(), tt.problem)) {
			t.Errorf("%q: error %v does not say %q", tt.text, err, tt.problem)
		}
	}
	missing := filepath.Join(dir, "missing")
	if got, err := SocketsOf(missing, false); err != nil || got != standard {
		t.Errorf("no file: %+v, %v", got, err)
	}
	if _, err := SocketsOf(missing, true); err == nil {
		t.Error("a file that was asked for and is missing gives no error")
	}
}

// The speaker's socket is the default of package config.
func TestStandardSpeakerSocket(t *testing.T) {
	const text = `
[node]
name = "ams1"
region = "eu-west"
hostname = "mx.example.net"
[core]
addresses = ["10.77.0.1:2525"]
` + configtest.Announced
	c, err := config.Parse("anymx.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if c.BGP.Control != standardSpeakerSocket {
		t.Errorf("the config's default is %s", c.BGP.Control)
	}
}

func FuzzSocketsIn(f *testing.F) {
	for _, s := range []string{"", "[node]\ncontrol=\"/x\"", "node.control = '''/x'''", "[[node]]\n", "node = {control=\"x\"}", "\xff", "[node]\ncontrol=\"\\u0000\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) { socketsIn(text) }) // must not panic
}
