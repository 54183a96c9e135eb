package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
)

// ListenIngress listens on the addresses of ingress.listen: on each with the socket of passed that is
// bound to it, such as one from systemd, or with a new one. It closes sockets of passed that no address
// names. Together with an error it returns the listeners that are open, which its caller must close.
func ListenIngress(passed []net.Listener, addresses []string, log *slog.Logger) ([]net.Listener, error) {
	listeners, missing, spare := share(passed, addresses)
	for _, l := range spare {
		log.Warn("a socket that was passed in is closed: ingress.listen does not name it", "address", l.Addr().String())
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return listeners, err
		}
	}
	for _, address := range missing {
		l, err := ListenTCP(context.Background(), address)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// share matches the sockets that systemd opened against the addresses that the config wants to
// listen on: passed are the sockets it names, missing the addresses left to open, and spare the
// sockets it does not name. So the config decides, whatever the unit file says.
func share(sockets []net.Listener, want []string) (passed []net.Listener, missing []string, spare []net.Listener) {
	used := make(map[net.Listener]bool, len(sockets))
	for _, address := range want {
		at := slices.IndexFunc(sockets, func(l net.Listener) bool { return !used[l] && named(address, l.Addr()) })
		if at < 0 {
			missing = append(missing, address)
			continue
		}
		used[sockets[at]] = true
		passed = append(passed, sockets[at])
	}
	for _, l := range sockets {
		if !used[l] {
			spare = append(spare, l)
		}
	}
	return passed, missing, spare
}

// named reports whether an address of ingress.listen means the socket at the given address. Port 0
// means any.
func named(want string, at net.Addr) bool {
	a, ok := endpoint(want)
	b, is := endpoint(at.String())
	return ok && is && a.Addr() == b.Addr() && (a.Port() == b.Port() || a.Port() == 0)
}

// endpoint parses an address for comparison: ":25" is "[::]:25", as the kernel calls it. It reports
// false if text is not an address and a port.
func endpoint(text string) (netip.AddrPort, bool) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, false
	}
	if host == "" {
		host = "::"
	}
	a, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), err == nil
}
