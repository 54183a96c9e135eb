package anycast

import (
	"testing"
	"time"

	"anymx/edge/operate/api"
)

var (
	nothing = orders{kept: standing{Order: api.Order{Routes: api.Announced, Keep: true}}}
	proven  = health{up: true, since: epoch}
	fallen  = health{since: epoch, bad: 2, reason: "readyz: refused"}
	fresh   = health{since: epoch, good: 1, reason: "not proven yet"}
)

func kept(r api.Routes) api.Order {
	return api.Order{Routes: r, Reason: "kernel", Keep: true}
}

func passing(r api.Routes) api.Order { return api.Order{Routes: r, Reason: "restart"} }

func TestDecide(t *testing.T) {
	stopping := func(r api.Routes) orders {
		o := nothing
		o.stopping = r
		return o
	}
	for name, test := range map[string]struct {
		orders orders
		health health
		want   decision
	}{
		"nothing known":          {nothing, health{}, decision{api.Withdrawn, "not healthy: no check has ended yet"}},
		"down":                   {nothing, fallen, decision{api.Withdrawn, "not healthy: readyz: refused"}},
		"up":                     {nothing, proven, decision{api.Announced, "healthy"}},
		"graceful":               {nothing.with(kept(api.Graceful), epoch), proven, decision{api.Graceful, "ordered: kernel"}},
		"graceful but down":      {nothing.with(kept(api.Graceful), epoch), fallen, decision{api.Withdrawn, "not healthy: readyz: refused"}},
		"withdrawn":              {nothing.with(kept(api.Withdrawn), epoch), proven, decision{api.Withdrawn, "ordered: kernel"}},
		"withdrawn and down":     {nothing.with(kept(api.Withdrawn), epoch), fallen, decision{api.Withdrawn, "ordered: kernel"}},
		"passing":                {nothing.with(passing(api.Withdrawn), epoch), proven, decision{api.Withdrawn, "ordered until the node is back: restart"}},
		"passing allows no more": {nothing.with(kept(api.Withdrawn), epoch).with(passing(api.Graceful), epoch), proven, decision{api.Withdrawn, "ordered: kernel"}},
		"passing allows less":    {nothing.with(kept(api.Graceful), epoch).with(passing(api.Withdrawn), epoch), proven, decision{api.Withdrawn, "ordered until the node is back: restart"}},
		"a later one counts":     {nothing.with(passing(api.Withdrawn), epoch).with(kept(api.Announced), epoch), proven, decision{api.Announced, "healthy"}},
		"stopping":               {stopping(api.Graceful), proven, decision{api.Graceful, "anymx-bgp is stopping"}},
		"stopping and down":      {stopping(api.Graceful), fallen, decision{api.Withdrawn, "not healthy: readyz: refused"}},
		"stopping and drained":   {stopping(api.Graceful).with(kept(api.Withdrawn), epoch), proven, decision{api.Withdrawn, "ordered: kernel"}},
		"stopped":                {stopping(api.Withdrawn), proven, decision{api.Withdrawn, "anymx-bgp is stopping"}},
		"stopped for good":       {stopping(api.Withdrawn).with(kept(api.Announced), epoch), proven, decision{api.Withdrawn, "anymx-bgp is stopping"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decide(test.orders, test.health); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// An order that is not kept ends when the node was down and is up again; not
// when it only has to prove itself because the speaker has just begun.
func TestPassing(t *testing.T) {
	for name, test := range map[string]struct {
		seen []health
		ends bool
	}{
		"up all the time":    {[]health{proven, proven}, false},
		"down":               {[]health{proven, fallen}, false},
		"down and up":        {[]health{proven, fallen, fresh, proven}, true},
		"down before":        {[]health{fallen, fresh, proven}, true},
		"speaker just began": {[]health{fresh, proven}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := nothing.with(passing(api.Withdrawn), epoch)
			for _, h := range test.seen {
				o = o.seen(h)
			}
			if o.passes() == test.ends {
				t.Errorf("%+v", o)
			}
		})
	}
	// A kept one was waiting for the disk when the passing one came.
	o := nothing.with(passing(api.Withdrawn), epoch.Add(time.Second)).with(kept(api.Announced), epoch)
	if got := decide(o, proven); got.routes != api.Withdrawn {
		t.Errorf("an order before it has ended it: %+v", got)
	}
	if o = o.seen(fallen).seen(proven); decide(o, proven).routes != api.Announced {
		t.Errorf("it does not end: %+v", o)
	}
}
