package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// The functions below read names, paths and addresses. Each returns an error that completes the
// sentence "KEY: ..." and says what would be right.

// ParsePrefix reads a network, or an address as the network of just that address,
// as the keys of the file do. Bits after the length stay. The error says what
// would be right.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := parseAddr(s); err == nil && a.IsValid() {
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf(`%s is not a network; write an address and the length of its prefix, such as "192.0.2.0/24" or "2001:db8::/32"`, quote(s))
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%s: write an IPv4 network as such", quote(s))
	}
	return p, nil
}

// parseAddr reads an IP address without a zone. Empty text gives no address.
func parseAddr(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s is not an IP address", quote(s))
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%s: an address with a zone cannot be used here", quote(s))
	}
	return a.Unmap(), nil
}

// parseListen reads where to listen. An empty address is [::], which takes IPv4 too; port 0 is any
// free port.
func parseListen(s string) (netip.AddrPort, error) {
	host, port, err := splitHostPort(s, `"[::]:25", "0.0.0.0:25" or "127.0.0.1:8025"`, 0)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port), nil
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s: %s is not an IP address; listen on addresses, not on names", quote(s), quote(host))
	}
	return netip.AddrPortFrom(a.Unmap(), port), nil
}

// parseEndpoint reads where to connect to: an IP address or a host name, and a port. addr is not
// valid for a host name.
func parseEndpoint(s string) (addr netip.AddrPort, err error) {
	host, port, err := splitHostPort(s, `"10.77.0.1:2525" or "[2001:db8::1]:2525"`, 1)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.IsUnspecified() || a.IsMulticast() {
			return netip.AddrPort{}, fmt.Errorf("%s: %s is not the address of a host", quote(s), a)
		}
		return netip.AddrPortFrom(a.Unmap(), port), nil
	}
	if err := checkHostname(host); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s: the host %w", quote(s), err)
	}
	return netip.AddrPort{}, nil
}

// splitHostPort cuts host:port; example completes the message where it can't.
func splitHostPort(s, example string, lowest uint16) (host string, port uint16, err error) {
	host, digits, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%s is not an address and port; write %s", quote(s), example)
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || uint16(n) < lowest {
		return "", 0, fmt.Errorf("%s: the port must be a number from %d to 65535, not %s", quote(s), lowest, quote(digits))
	}
	return host, uint16(n), nil
}

// overlap tells whether two listeners can't be open at once: [::] takes the port on every
// address, 0.0.0.0 on every IPv4 one. Port 0 never meets another.
func overlap(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	covers := func(wide, narrow netip.Addr) bool {
		return wide == narrow || wide == netip.IPv6Unspecified() || wide == netip.IPv4Unspecified() && narrow.Is4()
	}
	return covers(a.Addr(), b.Addr()) || covers(b.Addr(), a.Addr())
}

// checkHostname checks a name by RFC 1123 2.1: labels of letters, digits and inner hyphens, not an
// address. The error reads on from the name: "example..net" has ...
func checkHostname(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > 253:
		return errors.New("is longer than 253 bytes")
	case strings.HasSuffix(s, "."):
		return errors.New("ends in a dot; leave it out")
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 0x80:
			return errors.New("is not ASCII; write it in its A-label form, which starts with xn--")
		case !isLetterDigit(c) && c != '-' && c != '.':
			return fmt.Errorf("has %q in it, which is not allowed in a host name", c)
		}
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return errors.New("has two dots in a row, or starts with one")
		case len(label) > 63:
			return errors.New("has a part longer than 63 bytes")
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("has a part that starts or ends with a hyphen")
		}
	}
	// Top-level domains are not numbers, and many programs read a name that ends in one as an address.
	if _, err := strconv.ParseUint(labels[len(labels)-1], 10, 64); err == nil {
		return errors.New("is an address or ends like one, where a host name is required")
	}
	return nil
}

func isLetterDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// checkDomain checks the name of a domain, which may start with "*." for all names below it.
func checkDomain(s string) error {
	name := strings.TrimPrefix(s, "*.")
	if strings.Contains(name, "*") {
		return errors.New(`may have "*" only as its first part: "*.example.net"`)
	}
	return checkHostname(name)
}

// checkWord checks the name of a node or a region.
func checkWord(s string) error {
	if len(s) > 63 {
		return errors.New("is longer than 63 bytes")
	}
	for i, c := range []byte(s) {
		if !isLetterDigit(c) && (c != '-' || i == 0 || i == len(s)-1) || c >= 'A' && c <= 'Z' {
			return fmt.Errorf("%s: only lower-case letters, digits and inner hyphens are allowed", quote(s))
		}
	}
	return nil
}

// checkPath checks the path of a file. It never repeats the text, which may be the secret that
// should have been in the file.
func checkPath(s string) error {
	switch {
	case strings.ContainsRune(s, 0):
		return errors.New("has a NUL byte in it")
	case !path.IsAbs(s):
		return errors.New("must be an absolute path, starting with /")
	case strings.HasSuffix(s, "/"):
		return errors.New("must not end in /")
	}
	return nil
}

// checkSecret checks where a secret is read from: the path of a file, or "credential:" and the name
// of a systemd credential. It never repeats the text either.
func checkSecret(s string) error {
	name, ok := strings.CutPrefix(s, "credential:")
	switch {
	case !ok && !path.IsAbs(s):
		return errors.New(`must be an absolute path, starting with /, or "credential:NAME"`)
	case !ok:
		return checkPath(s)
	case name == "" || name == "." || name == "..":
		return errors.New(`must have the name of a credential after "credential:"`)
	case len(name) > 255:
		return errors.New("must have at most 255 bytes in the name of its credential")
	}
	for _, c := range []byte(name) {
		if !isLetterDigit(c) && !strings.ContainsRune("._-", rune(c)) {
			return errors.New(`must have only letters, digits, ".", "_" and "-" in the name of its credential`)
		}
	}
	return nil
}

// checkSocket checks the path of a unix socket, for which Linux has 108 bytes with the final NUL.
func checkSocket(s string) error {
	if len(s) > 107 {
		return fmt.Errorf("is %d bytes long: a unix socket's path has at most 107", len(s))
	}
	return checkPath(s)
}

// checkInterface checks the name of a network device by what Linux takes.
func checkInterface(s string) error {
	switch {
	case s == "" || s == "." || s == "..":
		return fmt.Errorf("%s is not a device name", quote(s))
	case len(s) > 15:
		return fmt.Errorf("%s is longer than a device name may be, 15 bytes", quote(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r >= 0x7f }):
		return fmt.Errorf("%s contains a character that is not allowed in a device name", quote(s))
	}
	return nil
}

// checkCommunity checks a community (RFC 1997) or a large community (RFC 8092).
func checkCommunity(s string) error {
	parts := strings.Split(s, ":")
	bits := map[int]int{2: 16, 3: 32}[len(parts)]
	for _, part := range parts {
		if _, err := strconv.ParseUint(part, 10, max(bits, 1)); err != nil || bits == 0 {
			return fmt.Errorf(`%s is not a community; write "64500:100", each part up to 65535, or a large one, "64500:1:2", each part up to 4294967295`, quote(s))
		}
	}
	return nil
}
