package image

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/tests/lab"
	"anymx/tests/vm"
	"anymx/tests/vm/rack"
)

// A node whose config is wrong boots, announces nothing, and says what is wrong
// on its console and on the network. It is put right with a USB stick.
func TestBadConfigThenAStick(t *testing.T) {
	var right map[string]string
	s := place(t, "", func(o *rack.Options, l *lab.Lab) {
		right = o.Config
		o.Config = l.Guest.Files("\n[spol]\nmemory = \"1GiB\"\n")
	})
	must(t, s.On(t.Context()))
	s.see(`no valid config`, bootLimit)
	s.see(`anymx\.toml:\d+.*spol`, 10*time.Second)
	s.see(`Type help for`, bootLimit)
	s.outOfService(time.Second)

	// From r1, its neighbour, as an operator would look.
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.lab.Space("r1").Dial(ctx, network, address)
		}}}
	must(t, lab.Poll(t.Context(), 2*time.Minute, func(context.Context) error {
		response, err := client.Get("http://" + net.JoinHostPort(lab.A4, "9925") + "/")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		page, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		if err == nil && !strings.Contains(string(page), "spol") {
			t.Errorf("the page does not name the key:\n%s", page)
		}
		if strings.Contains(string(page), strings.TrimSpace(right["credentials/wg.key"])) {
			t.Error("the page has a secret in it")
		}
		return err
	}))
	must(t, s.Machine.PowerButton(t.Context(), 2*time.Minute))

	// A stick that comes late is taken when somebody says so.
	stick, err := vm.Stick(t.Context(), filepath.Join(t.TempDir(), "stick"), "ANYMX", write(t, right))
	must(t, err)
	s.Reconfigure(nil)
	must(t, s.On(t.Context()))
	s.see(`this node has no config`, bootLimit)
	s.see(`Type help for`, bootLimit)
	s.run("provision", `no config`)
	must(t, s.Machine.PlugIn(t.Context(), "stick", stick))
	s.until("provision", `no problem found`, time.Minute)
	s.inService()
	s.letters("late", 10)
	must(t, s.Machine.PowerButton(t.Context(), 2*time.Minute))

	// One that is there at the boot is taken by itself, and may be pulled then.
	s.Plug(stick)
	s.on()
	s.until("config", `file system ANYMX`, time.Minute)
	s.letters("stick", 10)
	must(t, s.Machine.PowerButton(t.Context(), 2*time.Minute))

	s.Plug() // nothing any more
	s.on()
	s.until("config", `kept`, time.Minute)
}
