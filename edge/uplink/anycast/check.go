package anycast

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
)

// check is one question about the node.
type check struct {
	name string
	ask  func(context.Context) (answer, error)
}

// answer is the result of a check. Its error says why it is not good.
type answer struct {
	outcome outcome
	process int // that answered; 0: unknown
}

// checked is a check that has ended.
type checked struct {
	name    string
	outcome outcome
	reason  string
	process int
	at      time.Time // when it began
	took    time.Duration
}

// run performs the check, within the timeout.
func (c check) run(ctx context.Context, timeout time.Duration) checked {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	a, err := c.ask(ctx)
	done := checked{name: c.name, outcome: a.outcome, process: a.process, at: began, took: time.Since(began)}
	if err != nil {
		done.reason = err.Error()
	}
	return done
}

// status converts the check for the status.
func (c checked) status() api.HealthCheck {
	return api.HealthCheck{Name: c.name, OK: c.outcome == good, Reason: c.reason, Took: api.Seconds(c.took), At: c.at}
}

// checksOf returns the checks that decide.
func checksOf(c *config.Config) []check {
	checks := []check{{"readyz", func(ctx context.Context) (answer, error) { return askReady(ctx, c.Node.Control) }}}
	for _, point := range c.ServicePoints() {
		p := probe{point: point, hello: c.Node.Hostname, proxied: proxied(c, point.Addr())}
		checks = append(checks, check{"smtp " + point.String(), func(ctx context.Context) (answer, error) {
			result, err := p.say(ctx)
			return answer{outcome: result}, err
		}})
	}
	return checks
}

func proxied(c *config.Config, from netip.Addr) bool {
	return slices.ContainsFunc(c.Ingress.ProxyProtocolFrom, func(p netip.Prefix) bool { return p.Contains(from) })
}

// askReady asks /readyz on the socket of anymx-edge. It connects each time: a socket whose program
// has died refuses that at once.
func askReady(ctx context.Context, socket string) (answer, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return answer{outcome: bad}, plainly("connect", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	a := answer{outcome: bad, process: listenerOf(conn)}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://anymx/readyz", nil)
	if err != nil {
		return a, err
	}
	request.Close = true
	if err := request.Write(conn); err != nil {
		return a, plainly("request", err)
	}
	const most = 16 << 10 // bytes of a response
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, most)), request)
	if err != nil {
		return a, plainly("answer", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxReplyText))
	switch {
	case response.StatusCode == http.StatusOK && err == nil:
		a.outcome = good
		return a, nil
	case response.StatusCode == http.StatusOK:
		return a, plainly("answer", err)
	case len(text) == 0:
		return a, fmt.Errorf("HTTP %d", response.StatusCode)
	}
	quoted := printable(trimLine(text))
	return a, errors.New(quoted[1 : len(quoted)-1])
}

// trimLine returns the first line of text.
func trimLine(text []byte) []byte {
	if i := slices.Index(text, '\n'); i >= 0 {
		return text[:i]
	}
	return text
}

// listenerOf returns the process that listens on the unix socket, 0 if unknown.
func listenerOf(conn net.Conn) int {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0
	}
	process := 0
	_ = raw.Control(func(fd uintptr) {
		if by, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			process = int(by.Pid)
		}
	})
	return process
}
