package image

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/smtp"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/lab"
	"anymx/tests/vm"
	"anymx/tests/vm/rack"
)

// A node with an invalid config boots, announces nothing, and shows what is wrong on its console
// and over the network. A USB stick repairs it.
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

	// From r1, its neighbor, where an operator would look.
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.lab.Space("r1").Dial(ctx, network, address)
		}}}
	must(t, kit.Poll(t.Context(), 2*time.Minute, func(context.Context) error {
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

	// A stick that is plugged in later is used on request.
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

	// A stick that is present at boot is used automatically and may then be removed.
	s.Plug(stick)
	s.on()
	s.until("config", `file system ANYMX`, time.Minute)
	s.letters("stick", 10)
	must(t, s.Machine.PowerButton(t.Context(), 2*time.Minute))

	s.Plug() // no stick any more
	s.on()
	s.until("config", `copy on /var`, time.Minute)

	s.changed(right)
}

// changed changes the config of a running node and reloads its programs: every session and route
// stays, and all messages arrive.
func (s *site) changed(config map[string]string) {
	s.t.Helper()
	next := maps.Clone(config)
	for _, edit := range [][2]string{{"[ingress]\n", "[ingress]\nmax_message_size = \"7MiB\"\n"}, {"med = 10\n", "med = 77\n"}} {
		if !strings.Contains(next["anymx.toml"], edit[0]) {
			s.t.Fatalf("the config has no %q", edit[0])
		}
		next["anymx.toml"] = strings.ReplaceAll(next["anymx.toml"], edit[0], edit[1])
	}
	stick, err := vm.Stick(s.t.Context(), filepath.Join(s.t.TempDir(), "stick"), "ANYMX", write(s.t, next))
	must(s.t, err)

	began := time.Now()
	load := s.lab.Send(s.t.Context(), lab.Load{Sessions: 4, Each: 1000, Recipient: "changed", Pause: 50 * time.Millisecond})
	must(s.t, load.AwaitMore(s.t.Context(), 5, time.Minute))
	must(s.t, s.Machine.PlugIn(s.t.Context(), "next", stick))
	s.until("provision", `config is from the file system ANYMX.*no problem found`, time.Minute)
	must(s.t, kit.Poll(s.t.Context(), time.Minute, func(context.Context) error {
		route, err := s.lab.R1.Ask("show route " + lab.Prefix4 + " all")
		if err == nil && !strings.Contains(route, "BGP.med: 77") {
			err = fmt.Errorf("r1 has\n%s", route)
		}
		return err
	}))
	must(s.t, kit.Poll(s.t.Context(), time.Minute, func(ctx context.Context) error {
		size, err := s.size(ctx)
		if err == nil && size != strconv.Itoa(7<<20) {
			err = fmt.Errorf("EHLO says SIZE %s", size)
		}
		return err
	}))
	must(s.t, load.AwaitMore(s.t.Context(), 5, time.Minute))
	ledger, err := load.Stop()
	must(s.t, err)
	s.settled(ledger, "changed")
	for _, change := range s.lab.R1.Routes.Changes(lab.Prefix4, began) {
		if change.Gone {
			s.t.Errorf("the route was away at %v", change.At)
		}
	}
	if ledger.Repeated > 0 {
		s.t.Errorf("%d transactions were cut off", ledger.Repeated)
	}
}

// size returns the parameter of SIZE, as offered to a client of the service address.
func (s *site) size(ctx context.Context) (string, error) {
	conn, err := s.lab.ClientA.Dial(ctx, "tcp", net.JoinHostPort(lab.Service4, "25"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	client, err := smtp.NewClient(conn, s.lab.Guest.Host)
	if err != nil {
		return "", err
	}
	_, size := client.Extension("SIZE")
	return size, client.Quit()
}
