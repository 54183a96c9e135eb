package node

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// probeCase changes one key about the probes of the tunnel on a running edge.
type probeCase struct {
	key, was, is string
	with         map[string]string // other keys, before and after
	// observe returns what core receives: before with the old value, and after with the new one.
	observe       func(*testing.T, *watchedCore) string
	before, after string
}

var probeCases = []probeCase{
	{key: "tunnel.probe_interval", was: "0", is: `"500ms"`, observe: probed, before: "nothing", after: "probed"},
	{key: "tunnel.probe_size", was: `"16KiB"`, is: `"1KiB"`, with: map[string]string{"tunnel.probe_interval": `"500ms"`},
		observe: probeSize, before: "16 KiB", after: "1 KiB"},
}

// The probes follow the last reload. The device that they go over is loopback.
func TestReloadedProbe(t *testing.T) {
	t.Parallel()
	core := watchCore(t)
	p := pop.Start(t, pop.Options{Core: core.address, CoreConfig: "ehlo_interval = \"1d\"\n", Config: `[tunnel]
interface = "lo"
address = ["10.77.0.2/24"]
private_key_file = "/nowhere/wg.key"
probe_interval = 0
[[tunnel.peer]]
public_key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
endpoint = "198.51.100.9:51820"
allowed_ips = ["127.0.0.0/8"]
`})
	base := p.Config()
	for _, c := range probeCases {
		t.Run(c.key, func(t *testing.T) {
			for _, value := range []struct{ of, want string }{{c.was, c.before}, {c.is, c.after}} {
				text := pop.WithValue(base, "tunnel", strings.TrimPrefix(c.key, "tunnel."), value.of)
				for k, v := range c.with {
					text = pop.WithValue(text, "tunnel", strings.TrimPrefix(k, "tunnel."), v)
				}
				p.WriteConfig(text)
				p.Reload()
				var got string
				if !kit.Within(20*time.Second, func() bool { got = c.observe(t, core); return got == value.want }) {
					t.Errorf("with %s = %s: %q, want %q", c.key, value.of, got, value.want)
				}
			}
		})
	}
}

// probed observes whether a probe comes.
func probed(_ *testing.T, core *watchedCore) string {
	if core.await(core.mark(), " RSET ", 3*time.Second) {
		return "probed"
	}
	return "nothing"
}

// probeSize returns how much a probe sends.
func probeSize(t *testing.T, core *watchedCore) string {
	mark := core.mark()
	if !core.await(mark, " RSET ", 10*time.Second) {
		t.Fatal("no probe comes")
	}
	for size := -1; size != len(core.since(mark)); time.Sleep(200 * time.Millisecond) { // until the burst ends
		size = len(core.since(mark))
	}
	bytes := 0
	for _, line := range regexp.MustCompile(`(?m)^one (RSET .*)$`).FindAllStringSubmatch(core.since(mark), -1) {
		bytes += len(line[1]) + len("\r\n")
	}
	switch {
	case bytes >= 16<<10 && bytes < 20<<10:
		return "16 KiB"
	case bytes >= 1<<10 && bytes < 2<<10:
		return "1 KiB"
	}
	return strings.Repeat("x", min(bytes>>10, 100))
}
