package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

// Drain acts on the node that a flag names, whatever the environment says.
func TestDrainsTheNodeOfTheFlag(t *testing.T) {
	for _, flag := range []string{"--config", "--control"} {
		meant, _ := controltest.Start(t, controltest.New(), false)
		other, _ := controltest.Start(t, controltest.New(), false)
		value := meant
		if flag == "--config" {
			value = filepath.Join(t.TempDir(), "anymx.toml")
			if err := os.WriteFile(value, fmt.Appendf(nil, "[node]\ncontrol = %q\n", meant), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out, errOut bytes.Buffer
		p := &program{
			in: &bytes.Buffer{}, out: &out, errOut: &errOut, now: func() time.Time { return controltest.Now },
			getenv:   func(key string) string { return map[string]string{"ANYMX_CONTROL": other}[key] },
			terminal: func() bool { return false }, colors: func() bool { return false }, screen: noScreen,
		}
		if code := p.run(t.Context(), []string{flag, value, "drain", "--wait", "0"}); code != exitNo { // not drained yet
			t.Errorf("%s: exit %d: %s", flag, code, errOut.String())
		}
		for socket, want := range map[string]api.Phase{meant: api.Draining, other: api.Running} {
			c := control.NewClient(socket)
			s, err := c.Status(t.Context())
			c.Close()
			if err != nil || s.Phase != want {
				t.Errorf("%s: %v, want %v (%v)", flag, s.Phase, want, err)
			}
		}
	}
}
