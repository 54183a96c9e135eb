package tunnel

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// TestPortChangeFails changes the port to one that is in use: the tunnel works again as soon as it
// has any port.
func TestPortChangeFails(t *testing.T) {
	for name, next := range map[string]int{"the same": 51999, "any": 0} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			e := h.open(Options{}, Settings{PrivateKey: GenerateKey(), ListenPort: 51820})
			var taken net.PacketConn
			h.do(func() (err error) { taken, err = net.ListenPacket("udp4", "0.0.0.0:51999"); return err })
			defer taken.Close()
			e.settings.ListenPort = 51999
			if err := e.Apply(t.Context(), e.settings); err == nil || !strings.Contains(err.Error(), "UDP port 51999: address already in use") {
				t.Fatalf("a port that another holds: %v", err)
			}
			taken.Close()
			e.settings.ListenPort = next
			e.apply()
			port := e.Status().ListenPort
			err := h.space.do(func() error {
				l, err := net.ListenPacket("udp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(port)))
				if err == nil {
					l.Close()
				}
				return err
			})
			if port == 0 || !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("at port %d nobody listens: %v", port, err)
			}
		})
	}
}

// pairOf4 is a pair of sockets as wireguard-go has it on a kernel without IPv6.
type pairOf4 struct{ conn.Bind }

func (p pairOf4) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	receive, _, err := p.Bind.Open(port)
	return receive, 0, err
}

// TestPortWithoutIPv6 checks that the port is known; otherwise it would be reopened forever.
func TestPortWithoutIPv6(t *testing.T) {
	var port uint16
	func() {
		l, err := net.ListenUDP("udp", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port = l.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	}()
	b := newBind(func() {})
	b.Bind = pairOf4{b.Bind}
	_, opened, err := b.Open(port)
	if err != nil || opened != port {
		t.Errorf("port %d, %v, want %d", opened, err, port)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
