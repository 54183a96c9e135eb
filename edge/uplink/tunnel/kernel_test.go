package tunnel

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// kernelHas reports whether this kernel has WireGuard, by creating a device.
func (h *host) kernelHas() bool {
	h.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wg-probe"
	err := h.links.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return false
	case err != nil:
		h.t.Fatal(err)
	}
	if err := h.links.LinkDel(h.link("wg-probe")); err != nil {
		h.t.Fatal(err)
	}
	return true
}

// TestKernelWithout requests the kernel's device where there is none, and then any implementation.
func TestKernelWithout(t *testing.T) {
	h := newHost(t)
	if h.kernelHas() {
		t.Skip("this kernel has WireGuard")
	}
	err := h.space.do(func() error { _, err := Open(Options{Interface: "wg-core", Implementation: Kernel}); return err })
	if err == nil || !strings.Contains(err.Error(), "this kernel has no WireGuard") {
		t.Errorf("the kernel's device: %v", err)
	}
	e := h.open(Options{Implementation: Auto}, Settings{PrivateKey: GenerateKey()})
	if s := e.Status(); s.Implementation != Userspace || s.Why != "the kernel has no WireGuard" {
		t.Errorf("status %+v", s)
	}
}

// TestKernelDevice uses the kernel's WireGuard at one end and wireguard-go at the other: traffic
// passes, and neither a restart of the process nor unchanged settings cost a handshake.
func TestKernelDevice(t *testing.T) {
	p := newPair(t)
	if !p.a.kernelHas() {
		t.Skip("this kernel has no WireGuard")
	}
	p.b.open(Options{}, p.sb)
	a := p.a.open(Options{Implementation: Auto}, p.sa)
	for _, address := range []string{"10.77.0.2:2525", "[fd77::2]:2525"} {
		s := p.b.serve(address, echo)
		p.a.passes(s.address, 16<<20)
	}
	st := a.Status()
	if st.Implementation != Kernel || st.Why != "the kernel has WireGuard" || !st.Up || st.MTU != 1440 || st.Problem != "" || st.ListenPort == 0 {
		t.Errorf("status %+v", st)
	}
	before, told := st.Peers[0].LastHandshake, a.log.count("tunnel configured")
	a.apply()
	if again := a.log.count("tunnel configured"); again != told {
		t.Errorf("the same settings are told %d times more", again-told)
	}

	s := p.b.serve("10.77.0.2:2526", echo)
	c, err := p.a.dial(s.address, patient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a.stop()
	through(t, c) // only the kernel is left to answer
	a = p.a.open(Options{Implementation: Auto}, p.sa)
	through(t, c)
	if st := a.Status(); !st.Peers[0].LastHandshake.Equal(before) || st.Why != "the kernel's device existed already" {
		t.Errorf("after a restart: %+v, the handshake was at %s", st, before)
	}
	if n := a.log.count("tunnel configured"); n != 0 {
		t.Errorf("a device that is right is told something %d times", n)
	}

	// A peer changes, a path changes, a device is removed.
	a.settings.Peers[0].Keepalive = 20 * time.Second
	a.apply()
	through(t, c)
	p.a.resize("eth0", 1400)
	p.b.resize("eth0", 1400)
	wait(t, "the MTU", func() bool { return a.Status().MTU == 1340 })
	if err := p.a.links.LinkDel(p.a.link("wg-core")); err != nil {
		t.Fatal(err)
	}
	wait(t, "the device recreated", func() bool { link, err := p.a.links.find("wg-core"); return err == nil && link != nil })
	a.apply()
	through(t, c)
	a.stop()
	p.a.do(func() error { _, err := Remove("wg-core"); return err })
}

// TestUnclaimed distinguishes a device that was created and never marked from foreign ones.
func TestUnclaimed(t *testing.T) {
	peer := []wgtypes.Peer{{}}
	for name, test := range map[string]struct {
		alias string
		have  wgtypes.Device
		want  bool
	}{
		"as it was made": {want: true},
		"named":          {alias: "office"},
		"ours":           {alias: ours},
		"with a key":     {have: wgtypes.Device{PrivateKey: wgtypes.Key{1}}},
		"with a peer":    {have: wgtypes.Device{Peers: peer}},
	} {
		if got := unclaimed(test.alias, &test.have); got != test.want {
			t.Errorf("%s: unclaimed %v", name, got)
		}
	}
}

// TestKernelDeviceGone has no device in the kernel, and a program that serves one of that name: it
// does not get the key.
func TestKernelDeviceGone(t *testing.T) {
	h := newHost(t)
	d := &kernelDevice{name: "wg-core", links: h.links} // without a client: it is not used
	key := GenerateKey().wg()
	if err := d.configure(wgtypes.Config{PrivateKey: &key}); !errors.Is(err, errGone) {
		t.Errorf("configure: %v", err)
	}
	if _, err := d.have(); !errors.Is(err, errGone) {
		t.Errorf("have: %v", err)
	}
}
