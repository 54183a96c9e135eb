package node

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// inNamespace runs the calling test again, alone, in a process with its own network, and reports
// whether this is that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "ANYMX_TEST_NAMESPACE"
	if os.Getenv(mark) == t.Name() {
		ip(t, "link set lo up")
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip of iproute2")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig refers to the death of this thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in its namespace: %v\n%s", err, out)
	} else {
		t.Logf("in its namespace:\n%s", out)
	}
	return false
}

// ip runs ip with the words of line as arguments.
func ip(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", line, err, out)
	}
}

// network is another network namespace, held by a process.
type network struct {
	t   *testing.T
	pid int
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	n := &network{t, cmd.Process.Pid}
	n.run("ip link set lo up")
	return n
}

// enter returns the words that make a command run in n when prefixed to it.
func (n *network) enter() []string { return []string{"nsenter", "-n", "-t", fmt.Sprint(n.pid)} }

func (n *network) run(line string) {
	n.t.Helper()
	args := append(n.enter(), strings.Fields(line)...)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// capture counts the packets on a device for one IPv4 address, and ARP requests for that address.
type capture struct {
	packets atomic.Int64
	stop    atomic.Bool
	done    sync.WaitGroup
}

func startCapture(t *testing.T, device string, to netip.Addr) *capture {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ALL)))
	if err != nil {
		t.Fatal(err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: int(request.Uint32())})
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{}
	c.done.Go(func() {
		defer unix.Close(fd)
		frame := make([]byte, 1<<16)
		for !c.stop.Load() {
			n, _, err := unix.Recvfrom(fd, frame, 0)
			if err == nil && isFor(frame[:n], to.As4()) {
				c.packets.Add(1)
			}
		}
	})
	t.Cleanup(func() {
		c.stop.Store(true)
		c.done.Wait()
	})
	return c
}

// isFor reports whether an Ethernet frame has an IPv4 packet or an ARP request for an address.
func isFor(frame []byte, to [4]byte) bool {
	const header = 14
	if len(frame) < header+28 {
		return false
	}
	payload := frame[header:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		return [4]byte(payload[16:20]) == to
	case unix.ETH_P_ARP:
		return [4]byte(payload[24:28]) == to
	}
	return false
}

// sees waits until something has been counted.
func (c *capture) sees(t *testing.T, what string) {
	t.Helper()
	kit.EventuallyIn(t, 10*time.Second, what, func() bool { return c.packets.Load() > 0 })
}

func networkOrder(n uint16) uint16 { return n<<8 | n>>8 }
