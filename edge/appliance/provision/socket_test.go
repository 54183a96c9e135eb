package provision

import (
	"os"
	"strings"
	"testing"

	"anymx/edge/config"
)

func TestSocket(t *testing.T) {
	o := Options{Root: t.TempDir()}
	step := func(want string, changes bool, listen ...string) {
		t.Helper()
		c := config.Default()
		c.Ingress.Listen = listen
		changed, err := o.socket(&c)
		if err != nil || changed != changes {
			t.Errorf("%v: changed %v, %v", listen, changed, err)
		}
		text, err := os.ReadFile(o.path(socketFile))
		if want == "" && !os.IsNotExist(err) || want != "" && !strings.Contains(string(text), want) {
			t.Errorf("%v: %q, %v", listen, text, err)
		}
	}
	step("", false, standardListen...)
	step("ListenStream=\nListenStream=[::]:25\nListenStream=192.0.2.25:587\nFreeBind=yes\n", true, ":25", "192.0.2.25:587")
	step("587", false, ":25", "192.0.2.25:587")
	step("ListenStream=[::]:25\nFreeBind", true, "[::]:25")
	step("", true, standardListen...)
}
