package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/tests/pop"
	"anymx/tests/vm"
)

// A virtual machine can replace PoP a. This one only runs the shell of its firmware, which can
// ping; the config that an appliance would get is valid.
func TestGuest(t *testing.T) {
	needs(t)
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("qemu-system-x86_64 is not installed (package qemu-system-x86)")
	}
	l, err := Up(t.Context(), Options{Bin: pop.Build(t), Guest: true, Alone: true, Keys: filepath.Join(t.TempDir(), "keys")})
	must(t, err)
	defer func() { must(t, l.Down(t.Context())) }()

	tree := t.TempDir()
	must(t, l.Guest.Tree(tree, "\n[shield]\ninterfaces = [\"eth0\"]\n"))
	c, err := config.Load(filepath.Join(tree, "anymx.toml"))
	must(t, err)
	if c.Node.Hostname != l.Guest.Host || len(c.BGP.Peers) != 2 {
		t.Errorf("the guest's config is %+v", c)
	}
	for _, name := range []string{"credentials/wg.key", "credentials/bgp.r1", "network/10-uplink.network"} {
		if _, err := os.Stat(filepath.Join(tree, name)); err != nil {
			t.Error(err)
		}
	}

	disk := filepath.Join(t.TempDir(), "disk") // or the firmware boots from the network
	_, err = vm.Stick(t.Context(), disk, "ANYMX", tree)
	must(t, err)
	for range 2 { // the tap is free again once a machine has ended
		tap, err := l.Guest.Open()
		must(t, err)
		m, err := vm.Start(t.Context(), vm.Options{Dir: t.TempDir(), Memory: 256, Disk: vm.Disk{File: disk, ReadOnly: true}, NIC: vm.NIC{Tap: tap, MAC: l.Guest.MAC}, Enter: l.Guest.Namespace.Do})
		must(t, err)
		t.Cleanup(m.Kill)
		expect := func(pattern string) {
			t.Helper()
			_, err := m.Console.ExpectLine(t.Context(), regexp.MustCompile(pattern), time.Minute)
			must(t, err)
		}
		expect(`Press .*ESC`)
		must(t, m.Console.Type("\x1b"))
		expect(`Shell> $`)
		must(t, m.Console.Enter("connect -r"))
		expect(`Shell> $`)
		must(t, m.Console.Enter("ifconfig -s eth0 static "+A4+" 255.255.255.128 "+R1ToA4))
		expect(`Shell> $`)
		must(t, m.Console.Enter("ping -n 2 "+CoreOutside)) // through r1
		expect(`2 packets transmitted, 2 received`)
		m.Kill()
	}
}
