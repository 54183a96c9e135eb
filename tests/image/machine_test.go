package image

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/lab"
	"anymx/tests/pop"
	"anymx/tests/vm"
	"anymx/tests/vm/rack"
)

// Time limits. The guest's processors are emulated, and the host may be busy.
const (
	bootLimit    = 6 * time.Minute
	updateLimit  = 15 * time.Minute // includes the download through the tunnel, and a boot
	commandLimit = time.Minute
)

// theLab is shared by all tests, which use it one at a time.
var theLab struct {
	once sync.Once
	up   *lab.Lab
	bin  string
	err  error
}

// site is a lab with one machine in it.
type site struct {
	*rack.Rack
	t   *testing.T
	lab *lab.Lab
	dir string // the images
	bin string // our programs
}

// markers are the console lines that show how long each part of a boot takes.
var markers = []vm.Marker{
	{Name: "initrd", Pattern: regexp.MustCompile(`Booting initrd|the initrd of anymx`)},
	{Name: "root file system", Pattern: regexp.MustCompile(`Welcome to|Switching root|Queued start job`)},
	{Name: "config", Pattern: regexp.MustCompile(`Finished anymx: config`)},
	{Name: "console", Pattern: regexp.MustCompile(`Type help for`)},
}

// place creates a machine whose disk has the image. It is off. change may adjust the options; nil:
// the defaults.
func place(t *testing.T, image string, change func(*rack.Options, *lab.Lab)) *site {
	t.Helper()
	dir := built(t)
	theLab.once.Do(func() {
		theLab.bin = pop.Build(t)
		theLab.up, theLab.err = lab.Up(context.Background(), lab.Options{Bin: theLab.bin, Guest: true, Alone: true})
	})
	if theLab.err != nil {
		t.Fatal(theLab.err)
	}
	qemu, err := filepath.Abs("../../image/qemu")
	must(t, err)
	o := rack.Options{Image: image, Dir: t.TempDir(), Machine: vm.Options{Watchdog: true, Markers: markers, QEMU: qemu}}.Beside(theLab.up, "\n[shield]\ninterfaces = [\""+uplink+"\"]\n")
	o.Config["network/05-uplink.link"] = "[Match]\nDriver=virtio_net\n[Link]\nName=" + uplink + "\n"
	if o.Image == "" {
		o.Image = disk(dir, first)
	}
	if change != nil {
		change(&o, theLab.up)
	}
	r, err := rack.New(o)
	must(t, err)
	s := &site{Rack: r, t: t, lab: theLab.up, dir: dir, bin: theLab.bin}
	t.Cleanup(func() {
		if t.Failed() && s.Machine != nil {
			t.Logf("the console ends:\n%s", s.Machine.Console.Tail(100))
		}
		must(t, s.Close())
		_, err := s.lab.R1.Routes.Await(context.Background(), lab.Prefix4, "", 30*time.Second)
		must(t, err)
	})
	return s
}

// uplink is the name of the guest's network card in its config, which differs from the names that
// the kernel and udev choose.
const uplink = "uplink0"

// on turns the machine on and waits until it is in service.
func (s *site) on() {
	s.t.Helper()
	must(s.t, s.On(s.t.Context()))
	s.inService()
}

// inService waits until r1 sends packets for the service addresses to the machine and it sends its
// banner.
func (s *site) inService() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), bootLimit)
	defer cancel()
	for _, want := range []struct{ prefix, gateway string }{{lab.Prefix4, lab.A4}, {lab.Prefix6, lab.A6}} {
		if _, err := s.lab.R1.Routes.Await(ctx, want.prefix, want.gateway, bootLimit); err != nil {
			s.t.Fatalf("%v\n%s", err, s.Machine.Console.Tail(100))
		}
	}
	must(s.t, kit.Poll(ctx, time.Minute, func(ctx context.Context) error {
		host, err := s.lab.ClientA.Banner(ctx, net.JoinHostPort(lab.Service4, "25"))
		if err == nil && host != s.lab.Guest.Host {
			err = fmt.Errorf("greeted by %q", host)
		}
		return err
	}))
}

// outOfService waits until r1 has no route to the machine.
func (s *site) outOfService(limit time.Duration) {
	s.t.Helper()
	for _, prefix := range []string{lab.Prefix4, lab.Prefix6} {
		_, err := s.lab.R1.Routes.Await(s.t.Context(), prefix, "", limit)
		must(s.t, err)
	}
}

// enter types a command at the console's prompt.
func (s *site) enter(command string) {
	s.t.Helper()
	s.Machine.Console.Forget()
	must(s.t, s.Machine.Console.Enter(command))
}

// see waits for a line on the console.
func (s *site) see(pattern string, limit time.Duration) vm.Line {
	s.t.Helper()
	line, err := s.Machine.Console.ExpectLine(s.t.Context(), regexp.MustCompile(pattern), limit)
	must(s.t, err)
	return line
}

// run types a command and waits for a matching line of its output.
func (s *site) run(command, pattern string) vm.Line {
	s.t.Helper()
	s.enter(command)
	return s.see(pattern, commandLimit)
}

// until repeats a command until its output has a matching line.
func (s *site) until(command, pattern string, limit time.Duration) {
	s.t.Helper()
	want := regexp.MustCompile(pattern)
	must(s.t, kit.Poll(s.t.Context(), limit, func(ctx context.Context) error {
		s.Machine.Console.Forget()
		if err := s.Machine.Console.Enter(command); err != nil {
			return err
		}
		_, err := s.Machine.Console.ExpectLine(ctx, want, 3*time.Second)
		return err
	}))
}

// serve serves a directory on core, over the tunnel, and returns its URL.
func (s *site) serve(dir string) string {
	s.t.Helper()
	l, err := s.lab.Core.Namespace.Listen(net.ListenConfig{}, net.JoinHostPort(lab.CoreInside, "0"))
	must(s.t, err)
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	s.t.Cleanup(func() { _ = server.Close(); <-done })
	return "http://" + l.Addr().String()
}

// letters sends n messages and waits until core has them.
func (s *site) letters(recipient string, n int64) {
	s.t.Helper()
	load := s.lab.Send(s.t.Context(), lab.Load{Sessions: 4, Each: 5, Recipient: recipient, Pause: 10 * time.Millisecond})
	err := load.AwaitMore(s.t.Context(), n, time.Minute)
	ledger, stopped := load.Stop()
	must(s.t, err)
	must(s.t, stopped)
	s.settled(ledger, recipient)
}

// settled compares the acknowledged messages with what core has.
func (s *site) settled(ledger lab.Ledger, recipient string) {
	s.t.Helper()
	account, err := s.lab.AwaitDelivery(s.t.Context(), ledger, recipient, 2*time.Minute)
	must(s.t, err)
	if len(account.Doubled) > 0 {
		s.t.Logf("%d messages are in core twice", len(account.Doubled))
	}
	s.t.Logf("%d messages acknowledged, %d lost, %d doubled, %d whose sender did not hear the end", account.Acknowledged, len(account.Lost), len(account.Doubled), account.Unheard)
}

// write writes files into a new directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, []byte(text), 0o644))
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
