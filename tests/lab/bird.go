package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"anymx/tests/kit"
)

// password is the TCP MD5 password between PoP a and r1.
const password = "a-shared-secret"

// r1Config gives PoP a a session per address family, with TCP MD5. A lost neighbor may reconnect at
// once, since this is a lab. Routes with the graceful shutdown community get the lowest preference
// (RFC 8326 4.2).
const r1Config = `
log stderr all;
router id 10.64.12.1;
protocol device { }
protocol direct { ipv4; ipv6; }
protocol kernel kernel4 { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel kernel6 { ipv6 { import none; export where source = RTS_BGP; }; }

filter from_pop {
	if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
	accept;
}

template bgp pop {
	hold time 9;
	error wait time 1, 2;
	password "` + password + `";
}
protocol bgp pop_a4 from pop {
	local 198.51.100.1 as 64501;
	neighbor 198.51.100.2 as 64512;
	ipv4 { import filter from_pop; export all; };
}
protocol bgp pop_a6 from pop {
	local 2001:db8:a::1 as 64501;
	neighbor 2001:db8:a::2 as 64512;
	ipv6 { import filter from_pop; export all; };
}

template bgp transit {
	hold time 9;
	error wait time 1, 2;
	connect delay time 1;
	connect retry time 1;
}
protocol bgp r2_4 from transit {
	local 10.64.12.1 as 64501;
	neighbor 10.64.12.2 as 64502;
	ipv4 { import all; export all; };
}
protocol bgp r2_6 from transit {
	local 2001:db8:12::1 as 64501;
	neighbor 2001:db8:12::2 as 64502;
	ipv6 { import all; export all; };
}
`

// Prefixes that the BIRD next to PoP a announces, by its protocols static4 and static6.
const (
	Beside4, Beside6               = "198.18.25.0/24", "2001:db8:be51::/48"
	BesideGateway4, BesideGateway6 = "198.18.0.2", "2001:db8:be::2"
)

// r1Beside has r1's sessions with the BIRD next to PoP a, which resemble those with PoP a.
const r1Beside = `
protocol bgp beside4 from pop {
	local 198.18.0.1 as 64501;
	neighbor 198.18.0.2 as 64513;
	ipv4 { import filter from_pop; export all; };
}
protocol bgp beside6 from pop {
	local 2001:db8:be::1 as 64501;
	neighbor 2001:db8:be::2 as 64513;
	ipv6 { import filter { gw = 2001:db8:be::2; accept; }; export all; };
}
`

const besideConfig = `
log stderr all;
router id 198.18.0.2;
protocol device { }
protocol static static4 { ipv4; route ` + Beside4 + ` unreachable; }
protocol static static6 { ipv6; route ` + Beside6 + ` unreachable; }
template bgp upstream {
	hold time 9;
	connect delay time 1;
	connect retry time 1;
	password "` + password + `";
}
protocol bgp r1_4 from upstream {
	local 198.18.0.2 as 64513;
	neighbor 198.18.0.1 as 64501;
	ipv4 { import none; export where source = RTS_STATIC; };
}
protocol bgp r1_6 from upstream {
	local 2001:db8:be::2 as 64513;
	neighbor 2001:db8:be::1 as 64501;
	ipv6 { import none; export where source = RTS_STATIC; };
}
`

// BIRD is a router that runs BIRD.
type BIRD struct {
	Namespace *Namespace
	Process   *kit.Process
	Routes    *Watch // of the router's kernel
	socket    string
}

// startBIRD runs BIRD with a config and waits until it answers.
func (l *Lab) startBIRD(ctx context.Context, role, config string) (*BIRD, error) {
	n, base := l.spaces[role], l.file("bird-"+role)
	if err := os.WriteFile(base+".conf", []byte(config), 0o600); err != nil {
		return nil, err
	}
	b := &BIRD{Namespace: n, socket: base + ".ctl"}
	var err error
	b.Process, err = n.start("bird", l.log("bird-"+role),
		lookUp("bird"), "-f", "-c", base+".conf", "-s", b.socket, "-P", base+".pid")
	if err != nil {
		return nil, err
	}
	if b.Routes, err = n.Watch(); err != nil {
		return b, err
	}
	return b, b.Process.Await(ctx, 20*time.Second, func(context.Context) error {
		_, err := b.Ask("show status")
		return err
	})
}

// Session sends commands to BIRD over a single connection, so that measured times are those of BIRD
// itself.
type Session struct {
	conn net.Conn
	r    *bufio.Reader
}

// Session opens a connection to BIRD's control socket.
func (b *BIRD) Session() (*Session, error) {
	conn, err := net.Dial("unix", b.socket)
	if err != nil {
		return nil, err
	}
	s := &Session{conn: conn, r: bufio.NewReader(conn)}
	if _, err := s.reply(); err != nil { // the greeting
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func (s *Session) Close() error { return s.conn.Close() }

// Ask returns what `birdc` would print for a command.
func (s *Session) Ask(command string) (string, error) {
	if err := s.conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(s.conn, command); err != nil {
		return "", err
	}
	return s.reply()
}

// reply reads lines up to the last one, which has a code followed by a space. Other lines have a
// code and a hyphen, or begin with a space.
func (s *Session) reply() (string, error) {
	var text strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("BIRD's socket: %w", err)
		}
		code, rest, last := line, "", false
		switch {
		case line[0] == ' ' || line[0] == '+':
			rest = line[1:]
		case len(line) > 5:
			code, rest, last = line[:4], line[5:], line[4] == ' '
		}
		text.WriteString(rest)
		if last {
			if code[0] == '8' || code[0] == '9' {
				return "", fmt.Errorf("BIRD answers %s", strings.TrimSpace(line))
			}
			return text.String(), nil
		}
	}
}

// Ask runs one command over a new connection. See Session.Ask.
func (b *BIRD) Ask(command string) (string, error) {
	s, err := b.Session()
	if err != nil {
		return "", err
	}
	defer s.Close()
	return s.Ask(command)
}

// Birdc runs a command with `birdc` in a process of its own, as an operator does.
func (b *BIRD) Birdc(ctx context.Context, command string) error {
	_, err := output(ctx, "birdc", "-s", b.socket, command)
	return err
}
