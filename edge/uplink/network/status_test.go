package network

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"anymx/edge/uplink/plumb"
)

func TestComplaints(t *testing.T) {
	state := func(last byte, present bool, problem string) plumb.State {
		address := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), 32)
		return plumb.State{Want: plumb.Service(address)[0], Present: present, Problem: problem}
	}
	compared := time.Unix(1, 0)
	for name, test := range map[string]struct {
		status plumb.Status
		want   []string
	}{
		"at the start":        {want: []string{"config and kernel have not been compared yet"}},
		"the kernel is mute":  {status: plumb.Status{Compared: compared, Problem: "list routes: timeout"}, want: []string{"list routes: timeout"}},
		"all is there":        {status: plumb.Status{Compared: compared, Things: []plumb.State{state(1, true, "")}}},
		"one is missing":      {status: plumb.Status{Compared: compared, Things: []plumb.State{state(1, true, ""), state(2, false, "")}}, want: []string{"address 192.0.2.2/32 dev lo scope host is missing"}},
		"and says why":        {status: plumb.Status{Compared: compared, Things: []plumb.State{state(2, false, "lo is down")}}, want: []string{"address 192.0.2.2/32 dev lo scope host is missing: lo is down"}},
		"the others are many": {status: plumb.Status{Compared: compared, Things: []plumb.State{state(1, false, ""), state(2, false, ""), state(3, false, ""), state(4, false, ""), state(5, false, "")}}, want: []string{"address 192.0.2.1/32 dev lo scope host is missing", "address 192.0.2.2/32 dev lo scope host is missing", "address 192.0.2.3/32 dev lo scope host is missing", "and 2 more are missing"}},
		"one is left":         {status: plumb.Status{Compared: compared, Left: []plumb.State{state(1, true, "it is still there")}}, want: []string{"address 192.0.2.1/32 dev lo scope host could not be removed: it is still there"}},
		"many are left":       {status: plumb.Status{Compared: compared, Left: slices.Repeat([]plumb.State{state(1, true, "no")}, maxShown+2)}, want: append(slices.Repeat([]string{"address 192.0.2.1/32 dev lo scope host could not be removed: no"}, maxShown), "and 2 more could not be removed")},
	} {
		t.Run(name, func(t *testing.T) {
			if got := complaints(test.status); !slices.Equal(got, test.want) {
				t.Errorf("complaints %q, want %q", got, test.want)
			}
		})
	}
}
