package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Calls are clients that connect, read the banner and leave. Each starts on schedule: a client that
// waits does not delay the next one.
type Calls struct {
	Rate  int           // per second; alternately over IPv4 and IPv6, to ports 25 and 8025
	Limit time.Duration // time allowed for the banner, from the call of connect; 0 means 1s
}

// Called is the result of calls.
type Called struct {
	Calls   int
	Greeted map[string]int // within the limit, by the host name in the banner
	// Times are from the call of connect to the banner, sorted; calls without a banner count as the
	// limit.
	Times []time.Duration
	Why   map[string]int // reasons of the calls without a banner
}

// Share returns the share of calls that a node greeted.
func (c Called) Share(host string) float64 {
	return float64(c.Greeted[host]) / float64(max(1, c.Calls))
}

// Percentile returns the time within which that share of the calls finished.
func (c Called) Percentile(share float64) time.Duration {
	if len(c.Times) == 0 {
		return 0
	}
	return c.Times[min(len(c.Times)-1, int(float64(len(c.Times))*share))]
}

func (c Called) String() string {
	return fmt.Sprintf("%d calls, greeted: %v, p50 %s, p99 %s, longest %s; not: %v", c.Calls, c.Greeted,
		c.Percentile(0.5).Round(10*time.Microsecond), c.Percentile(0.99).Round(10*time.Microsecond), c.Percentile(1).Round(10*time.Microsecond), c.Why)
}

// Calling is a running series of calls.
type Calling struct {
	stop  context.CancelFunc
	done  chan struct{}
	limit time.Duration

	mu     sync.Mutex
	called Called
	err    error
}

// Call starts calling the service addresses from a namespace, until Stop.
func (n *Namespace) Call(ctx context.Context, o Calls) *Calling {
	if o.Limit == 0 {
		o.Limit = time.Second
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &Calling{stop: cancel, done: make(chan struct{}), limit: o.Limit,
		called: Called{Greeted: make(map[string]int), Why: make(map[string]int)}}
	go func() {
		defer close(c.done)
		var under sync.WaitGroup
		defer under.Wait()
		c.err = n.Do(func() error { // each socket belongs to the namespace, wherever it is read
			began := time.Now()
			for i := 0; ctx.Err() == nil; i++ {
				pause(ctx, time.Until(began.Add(time.Duration(i)*time.Second/time.Duration(o.Rate))))
				address := []string{Service4, Service6}[i%2]
				conn, at, err := knock(netip.AddrPortFrom(netip.MustParseAddr(address), []uint16{25, 8025}[i/2%2]))
				if err != nil {
					return err
				}
				under.Go(func() { c.greet(conn, at) })
			}
			return nil
		})
	}()
	return c
}

// CallAgain calls from client-a of a run that no process holds, until ctx ends.
func CallAgain(ctx context.Context, run string, o Calls) (Called, error) {
	if !There(run) {
		return Called{}, fmt.Errorf("there is no lab %s", run)
	}
	n, err := openNamespace(SpaceName(run, "client-a"))
	if err != nil {
		return Called{}, err
	}
	defer n.file.Close()
	c := n.Call(ctx, o)
	<-c.done
	return c.Stop()
}

// Stop waits for the calls in progress and returns the result of all.
func (c *Calling) Stop() (Called, error) {
	c.stop()
	<-c.done
	slices.Sort(c.called.Times)
	return c.called, c.err
}

// knock sends a SYN without waiting; reading from the returned file waits.
func knock(to netip.AddrPort) (*os.File, time.Time, error) {
	family := unix.AF_INET
	var address unix.Sockaddr = &unix.SockaddrInet4{Port: int(to.Port()), Addr: [4]byte(to.Addr().AsSlice())}
	if to.Addr().Is6() {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("socket: %w", err)
	}
	at := time.Now()
	if err := unix.Connect(fd, address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return nil, at, errors.Join(fmt.Errorf("connecting to %s: %w", to, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "client"), at, nil
}

// greet waits for the banner and says goodbye.
func (c *Calling) greet(conn *os.File, at time.Time) {
	defer conn.Close()
	host, why := "", ""
	b := make([]byte, 512)
	err := conn.SetDeadline(at.Add(c.limit))
	if err == nil {
		var n int
		n, err = conn.Read(b)
		if words := strings.Fields(string(b[:n])); len(words) > 1 && words[0] == "220" && b[n-1] == '\n' {
			host = words[1]
		} else if err == nil {
			why = fmt.Sprintf("%q", b[:n])
		}
	}
	took := time.Since(at)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = "no banner"
	case err != nil:
		why = err.Error()
	}
	c.mu.Lock()
	c.called.Calls++
	if why == "" {
		c.called.Greeted[host]++
		c.called.Times = append(c.called.Times, took)
	} else {
		c.called.Why[why]++
		c.called.Times = append(c.called.Times, max(took, c.limit))
	}
	c.mu.Unlock()
	if why != "" {
		return
	}
	// Read to the end, since closing with unread data would send a reset.
	if conn.SetDeadline(time.Now().Add(5*time.Second)) == nil {
		if _, err := conn.WriteString("QUIT\r\n"); err == nil {
			for err == nil {
				_, err = conn.Read(b)
			}
		}
	}
}
