package service

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A listener is plain TCP: the shield can't hand a connection to an MPTCP one.
func TestListenTCPIsNotMultipath(t *testing.T) {
	l, err := ListenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	protocol := 0
	if err := raw.Control(func(fd uintptr) {
		protocol, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil || protocol != unix.IPPROTO_TCP {
		t.Fatalf("protocol %d (%v), want %d", protocol, err, unix.IPPROTO_TCP)
	}
}
