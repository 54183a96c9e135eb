package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// asProgram is the environment variable that makes the test's binary run as the program.
const asProgram = "ANYMX_BGP_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// run runs the program to its end, and returns its exit code and output.
func run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

const node = `[node]
name = "ams1"
hostname = "mx.example.net"
[core]
addresses = ["127.0.0.1:2525"]
`

// TestRefuses checks that the program refuses to start with a clear error, and exits with 1.
func TestRefuses(t *testing.T) {
	const bgp = `[bgp]
asn = 64512
router_id = "198.51.100.2"
[[bgp.peer]]
address = "198.51.100.1"
asn = 64500
`
	const anycast = `[anycast]
addresses = ["192.0.2.25/32"]
prefixes = ["192.0.2.0/24"]
`
	for name, test := range map[string]struct {
		config string
		want   []string
	}{
		"no section":  {node, []string{"anymx.toml", "bgp: missing"}},
		"no prefixes": {node + bgp, []string{"anycast.prefixes"}},
		"unknown key": {node + anycast + bgp + "colour = 1\n", []string{"anymx.toml:18:bgp.peer[0].colour"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			text := strings.Replace(test.config, "[core]", "state_dir = \""+dir+"\"\n[core]", 1)
			text = strings.Replace(text, "router_id", "metrics = \"\"\ncontrol = \""+filepath.Join(dir, "b")+"\"\nrouter_id", 1)
			file := filepath.Join(dir, "anymx.toml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out := run(t, "-config", file)
			if code != 1 || !strings.Contains(out, "anymx-bgp: ") {
				t.Errorf("exit %d\n%s", code, out)
			}
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
		})
	}
}

func TestHelp(t *testing.T) {
	code, out := run(t, "-help")
	for _, want := range []string{"anymx-bgp announces", "Usage: anymx-bgp [-config FILE]", "[[bgp.peer]]", "TERM and INT"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if code != 0 {
		t.Errorf("exit %d", code)
	}
}
