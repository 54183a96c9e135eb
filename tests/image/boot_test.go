package image

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"anymx/tests/lab"
	"anymx/tests/vm"
	"anymx/tests/vm/rack"
)

// An operator flashes a new server, provides its config and turns it on. The node then needs no
// intervention until it is drained, or until the server fails and its disk moves to another one.
func TestFromFlashToDrain(t *testing.T) {
	flashed := filepath.Join(t.TempDir(), "disk")
	s := place(t, "", func(o *rack.Options, l *lab.Lab) {
		tree := write(t, o.Config)
		must(t, os.WriteFile(flashed, nil, 0o600))
		must(t, os.Truncate(flashed, rack.DefaultSize))
		anymx(t, "image", "flash", "--file", "--yes", o.Image, flashed)
		anymx(t, "image", "config", tree, flashed)
		o.Image, o.Config = flashed, nil
	})
	s.on()
	t.Logf("from power-on to the routes: %v", s.Machine.Boot())

	s.letters("first", 20)
	s.run("status", `Tunnel +wg-core is up, kernel`)
	s.run("shield status", `native`)
	s.run("update --status", `running +0\.0\.1`)

	s.flood()

	s.enter("drain --yes --reason 'the test says so'")
	s.outOfService(time.Minute)
	s.see(`anymx resume`, time.Minute)

	// It stays drained across a reboot and comes back when resumed.
	s.enter("reboot --yes")
	s.see(`Type help for`, bootLimit)
	s.until("status", `Phase +drained`, time.Minute)
	s.outOfService(time.Second)
	s.run("resume", `.`)
	s.inService()
	s.letters("again", 20)

	s.anotherServer(20)
}

// anotherServer kills the machine while it has at least n messages that core lacks, and moves its
// disk to another server: with another network card, and firmware that doesn't know the disk.
func (s *site) anotherServer(n int64) {
	s.t.Helper()
	must(s.t, s.lab.Core.Cut(s.t.Context()))
	load := s.lab.Send(s.t.Context(), lab.Load{Sessions: 4, Each: 5, Recipient: "orphan", Pause: 10 * time.Millisecond})
	err := load.AwaitMore(s.t.Context(), n, time.Minute)
	lost, cut := s.Cut(rand.Uint64())
	ledger, stopped := load.Stop()
	must(s.t, errors.Join(err, cut, stopped, s.lab.Core.Mend(s.t.Context())))
	s.t.Logf("the server dies: %s; %d acknowledged before", lost, len(ledger.Acknowledged))
	s.outOfService(time.Minute)

	disk := filepath.Join(s.t.TempDir(), "disk")
	must(s.t, s.Disk.CopyTo(disk))
	other := place(s.t, disk, func(o *rack.Options, l *lab.Lab) {
		o.Config = nil // it is on the disk
		nic := o.NIC
		o.NIC = func() (vm.NIC, error) {
			n, err := nic()
			n.MAC = net.HardwareAddr{0x52, 0x54, 0, 0x25, 0x25, 2}
			return n, err
		}
	})
	other.on()
	other.settled(ledger, "orphan")
	other.letters("heir", 10)
}

// flood floods the machine from forged sources while strangers call it.
func (s *site) flood() {
	s.t.Helper()
	flood, err := s.lab.Guest.Flood(s.t.Context(), lab.Flood{Flags: lab.SYN, Rate: 20000, Most: time.Minute})
	must(s.t, err)
	calls := s.lab.ClientA.Call(s.t.Context(), lab.Calls{Rate: 10})
	time.Sleep(8 * time.Second)
	called, err := calls.Stop()
	must(s.t, err)
	flooded, err := flood.Stop()
	must(s.t, err)
	s.t.Logf("flood: %.0f packets a second; %s", flooded.Rate(), called)
	if share := called.Share(s.lab.Guest.Host); share < 1 {
		s.t.Errorf("%.1f%% of the calls were greeted during a flood", 100*share)
	}
}

// anymx runs the command on the host.
func anymx(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(theLab.bin, "anymx"), args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("anymx %v: %v\n%s", args, err, said.Bytes())
	}
	return said.String()
}
