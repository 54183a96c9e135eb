package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Siege is a flood of PoP a while strangers call from client-a.
type Siege struct {
	Flood Flood // without Flags, there is no flood
	Calls int   // per second
	Took  time.Duration

	// Meanwhile, unless it is nil, runs during the siege, which lasts until it has returned.
	Meanwhile func(context.Context) error
}

// Besieged is the result of a siege.
type Besieged struct {
	Began    time.Time
	Flooded  Flooded
	Called   Called
	Returned Returned
	Verdicts map[string]uint64 // of PoP a's shield
}

// Besiege floods PoP a, calls it, and counts.
func (l *Lab) Besiege(ctx context.Context, s Siege) (b Besieged, err error) {
	before, err := l.A.Tap.Returned()
	if err != nil {
		return b, err
	}
	verdicts, err := l.A.Verdicts(ctx)
	if err != nil {
		return b, err
	}
	b.Began = time.Now()
	if s.Flood.Flags != 0 {
		s.Flood.Most = s.Took + time.Minute
		flood, err := l.Flood(ctx, l.A, s.Flood)
		if err != nil {
			return b, err
		}
		defer func() {
			var failed error
			b.Flooded, failed = flood.Stop()
			if err = errors.Join(err, failed); err == nil {
				err = b.count(ctx, l, before, verdicts)
			}
		}()
	}
	calls := l.ClientA.Call(ctx, Calls{Rate: s.Calls})
	var failed error
	var meanwhile sync.WaitGroup
	if s.Meanwhile != nil {
		meanwhile.Go(func() { failed = s.Meanwhile(ctx) })
	}
	pause(ctx, s.Took)
	meanwhile.Wait()
	b.Called, err = calls.Stop()
	return b, errors.Join(err, failed, ctx.Err())
}

// count adds what arrived since before.
func (b *Besieged) count(ctx context.Context, l *Lab, before Returned, verdicts map[string]uint64) error {
	after, err := l.A.Tap.Returned()
	if err != nil {
		return err
	}
	b.Returned = Returned{Resets: after.Resets - before.Resets, SYNACKs: after.SYNACKs - before.SYNACKs, Other: after.Other - before.Other}
	now, err := l.A.Verdicts(ctx)
	b.Verdicts = make(map[string]uint64)
	for v, n := range now {
		if n > verdicts[v] { // fewer: the maps are new
			b.Verdicts[v] = n - verdicts[v]
		}
	}
	return err
}

func (b Besieged) String() string {
	return fmt.Sprintf("%.0f packets a second; %v; returned to forged sources: %+v; verdicts: %v", b.Flooded.Rate(), b.Called, b.Returned, b.Verdicts)
}

// Strangers makes a node forget which addresses have connected before and, until it is called with
// false, not learn them again. When a queue is almost full and the kernel makes no cookies, it
// answers only known addresses.
func (n *Node) Strangers(ctx context.Context, on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	return errors.Join(n.Namespace.Sysctl("ipv4/tcp_no_metrics_save", value), n.Namespace.IP(ctx, "tcp_metrics", "flush"))
}

// KernelCookies sets whether a node's kernel answers SYNs with its own cookies when a listener's
// queue is full, as it does by default.
func (n *Node) KernelCookies(on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	return n.Namespace.Sysctl("ipv4/tcp_syncookies", value)
}
