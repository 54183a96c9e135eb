package interop

import (
	"testing"

	"anymx/edge/delivery/handoff"
	"anymx/edge/delivery/smtpc"
	"anymx/tests/pop"
)

// TestLargeProbe is answered by every core, up to the largest size that can be
// configured, and no core takes it for abuse.
func TestLargeProbe(t *testing.T) {
	t.Parallel()
	post := &postfix{hostname: "core.test", users: []string{"b@example.net"}}
	post.start(t)
	dove := &dovecot{users: []string{"b@example.net"}}
	dove.start(t)
	p := pop.Start(t, pop.Options{})
	for name, o := range map[string]handoff.Options{
		"Postfix":    {Addresses: []string{post.addr}, TLSMode: smtpc.TLSNever},
		"Dovecot":    {Addresses: []string{dove.addr}, TLSMode: smtpc.TLSNever, LMTP: true},
		"anymx-core": {Addresses: []string{p.Core}, TLSMode: smtpc.TLSNever},
	} {
		e := newEdge(t, o)
		for _, size := range []int{1 << 10, 16 << 10, 48 << 10, 64 << 10, 1 << 20} {
			e.handoff.Probe(t.Context(), size)
			if r := e.handoff.Status()[0].Probe; r.Outcome != handoff.Answered || r.Size < min(size, 48000) {
				t.Errorf("%s, %d bytes: %+v", name, size, r)
			} else {
				t.Logf("%s, %d bytes: %s", name, size, r.Took)
			}
		}
	}
}
