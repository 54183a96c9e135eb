package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/control/controltest"
)

// Check prints the problems that package config reports, each on its own line.
func TestCheckOfBadConfig(t *testing.T) {
	const file = "testdata/bad.toml"
	_, err := config.Load(file)
	var bad *config.Errors
	if !errors.As(err, &bad) || len(bad.Problems) < 4 {
		t.Fatalf("%s is not as bad as it should be: %v", file, err)
	}
	out, errOut, code := runProgram(t, story{args: "check " + file}, "")
	if code != exitNo || out != bad.Error()+"\n" || errOut != "" {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	if want := file + ":5:node.colour: "; !strings.HasPrefix(out, want) {
		t.Errorf("%s does not begin with %s", out, want)
	}
	out, errOut, code = runProgram(t, story{args: "check --json " + file}, "")
	var got checked
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if code != exitNo || errOut != "" || got.OK || got.File != file || !slices.Equal(got.Problems, bad.Problems) {
		t.Errorf("exit %d: %+v %s", code, got, errOut)
	}
}

// A warning is printed, and the file is good in spite of it.
func TestCheckWarns(t *testing.T) {
	const file = "testdata/warned.toml"
	want := file + `:8:core.archive: no [[domain]] has core = "archive": no mail goes to this group`
	out, errOut, code := runProgram(t, story{args: "check " + file}, "")
	if code != exitOK || out != "warning: "+want+"\n"+file+": no problem found\n" || errOut != "" {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	out, errOut, code = runProgram(t, story{args: "check --json " + file}, "")
	var got checked
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if code != exitOK || !got.OK || len(got.Problems) != 0 || len(got.Warnings) != 1 || got.Warnings[0].Error() != want {
		t.Errorf("exit %d: %+v %s", code, got, errOut)
	}
}

// The socket comes from --control, --config, ANYMX_CONTROL or the default config, in this order.
func TestFindsItsNode(t *testing.T) {
	socket, _ := controltest.Start(t, controltest.New(), false)
	dir := t.TempDir()
	file := filepath.Join(dir, "anymx.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "[node]\ncontrol = %q\n", socket), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	for _, tt := range []struct {
		env  string
		args []string
		want int
	}{
		{"", []string{"--control", socket}, exitOK},
		{none, []string{"--control", socket}, exitOK},
		{socket, []string{"--control", none}, exitUnreachable},
		{socket, []string{"--config", none}, exitUsage},
		{socket, nil, exitOK},
		{none, []string{"--config", file}, exitOK},
		{"", []string{"--config", file}, exitOK},
		{"", []string{"--config", none}, exitUsage},
	} {
		var out, errOut bytes.Buffer
		p := &program{
			in: strings.NewReader(""), out: &out, errOut: &errOut, now: time.Now,
			getenv:   func(string) string { return tt.env },
			terminal: func() bool { return false }, screen: noScreen,
		}
		if code := p.run(t.Context(), append(tt.args, "status")); code != tt.want {
			t.Errorf("%q %v: exit %d, want %d: %s", tt.env, tt.args, code, tt.want, errOut.String())
		}
	}
}

// The shield commands find anymx-net by the config of the node, or else beside the node's socket.
func TestFindsItsNetwork(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, "anymx.toml")
	if err := os.WriteFile(file, []byte("[node]\ncontrol = '/x/edge.sock'\n[net]\ncontrol = '/x/n.sock'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken.toml")
	if err := os.WriteFile(broken, []byte("[net]\ncontrol = 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	beside := "no anymx-net answers on " + filepath.Join(other, "net.sock") + ":"
	for _, tt := range []struct {
		env  string
		args []string
		want string // a part of the message
	}{
		{"", []string{"--config", file}, "no anymx-net answers on /x/n.sock:"},
		{"", []string{"--control", filepath.Join(other, "edge.sock")}, beside},
		{filepath.Join(other, "edge.sock"), nil, beside},
		{"/x/edge.sock", []string{"--config", file}, "answers on /x/n.sock:"},
		{filepath.Join(other, "edge.sock"), []string{"--config", file}, "answers on /x/n.sock:"},
		{"", []string{"--control", filepath.Join(other, "edge.sock"), "--config", broken}, beside},
		{"", []string{"--config", broken}, "give it by --control"},
	} {
		var out, errOut bytes.Buffer
		p := &program{
			in: strings.NewReader(""), out: &out, errOut: &errOut, now: time.Now,
			getenv:   func(key string) string { return map[string]string{"ANYMX_CONTROL": tt.env}[key] },
			terminal: func() bool { return false }, screen: noScreen,
		}
		p.run(t.Context(), append(tt.args, "shield", "list"))
		if !strings.Contains(errOut.String(), tt.want) {
			t.Errorf("%q %v: %s", tt.env, tt.args, errOut.String())
		}
	}
}

func TestWaitsUntilReady(t *testing.T) {
	n := controltest.New()
	asked := 0
	n.ReadyHook = func(context.Context) error {
		if asked++; asked < 3 {
			return errors.New("starting")
		}
		return nil
	}
	socket, _ := controltest.Start(t, n, false)
	out, errOut, code := runProgram(t, story{args: "status --ready --wait 20s"}, socket)
	if code != exitOK || out != "ready\n" || asked != 3 {
		t.Errorf("exit %d after %d checks: %s%s", code, asked, out, errOut)
	}
}
