package anycast

import (
	"testing"
	"time"

	"anymx/edge/operate/api"
)

var (
	nothing   = desiredStates{lasting: desired{DesiredState: api.DesiredState{Routes: api.Announced, Keep: true}}}
	confirmed = health{up: true, since: epoch}
	fallen    = health{since: epoch, bad: 2, reason: "readyz: refused"}
	fresh     = health{since: epoch, good: 1, reason: "not confirmed yet"}
)

func lasting(r api.Routes) api.DesiredState {
	return api.DesiredState{Routes: r, Reason: "kernel", Keep: true}
}

func passing(r api.Routes) api.DesiredState { return api.DesiredState{Routes: r, Reason: "restart"} }

func TestDecide(t *testing.T) {
	stopping := func(r api.Routes) desiredStates {
		o := nothing
		o.stopping = r
		return o
	}
	for name, test := range map[string]struct {
		states desiredStates
		health health
		want   decision
	}{
		"nothing known":          {nothing, health{}, decision{api.Withdrawn, "not healthy: no check has ended yet"}},
		"down":                   {nothing, fallen, decision{api.Withdrawn, "not healthy: readyz: refused"}},
		"up":                     {nothing, confirmed, decision{api.Announced, "healthy"}},
		"graceful":               {nothing.with(lasting(api.Graceful), epoch), confirmed, decision{api.Graceful, "by command: kernel"}},
		"graceful but down":      {nothing.with(lasting(api.Graceful), epoch), fallen, decision{api.Withdrawn, "not healthy: readyz: refused"}},
		"withdrawn":              {nothing.with(lasting(api.Withdrawn), epoch), confirmed, decision{api.Withdrawn, "by command: kernel"}},
		"withdrawn and down":     {nothing.with(lasting(api.Withdrawn), epoch), fallen, decision{api.Withdrawn, "by command: kernel"}},
		"passing":                {nothing.with(passing(api.Withdrawn), epoch), confirmed, decision{api.Withdrawn, "by command until the node is back: restart"}},
		"passing allows no more": {nothing.with(lasting(api.Withdrawn), epoch).with(passing(api.Graceful), epoch), confirmed, decision{api.Withdrawn, "by command: kernel"}},
		"passing allows less":    {nothing.with(lasting(api.Graceful), epoch).with(passing(api.Withdrawn), epoch), confirmed, decision{api.Withdrawn, "by command until the node is back: restart"}},
		"a later one counts":     {nothing.with(passing(api.Withdrawn), epoch).with(lasting(api.Announced), epoch), confirmed, decision{api.Announced, "healthy"}},
		"stopping":               {stopping(api.Graceful), confirmed, decision{api.Graceful, "anymx-bgp is stopping"}},
		"stopping and down":      {stopping(api.Graceful), fallen, decision{api.Withdrawn, "not healthy: readyz: refused"}},
		"stopping and drained":   {stopping(api.Graceful).with(lasting(api.Withdrawn), epoch), confirmed, decision{api.Withdrawn, "by command: kernel"}},
		"stopped":                {stopping(api.Withdrawn), confirmed, decision{api.Withdrawn, "anymx-bgp is stopping"}},
		"stopped for good":       {stopping(api.Withdrawn).with(lasting(api.Announced), epoch), confirmed, decision{api.Withdrawn, "anymx-bgp is stopping"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decide(test.states, test.health); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// A passing state ends when the node was down and is up again; not when the node only has to be
// confirmed because the speaker has just started.
func TestPassing(t *testing.T) {
	for name, test := range map[string]struct {
		seen []health
		ends bool
	}{
		"up all the time":    {[]health{confirmed, confirmed}, false},
		"down":               {[]health{confirmed, fallen}, false},
		"down and up":        {[]health{confirmed, fallen, fresh, confirmed}, true},
		"down before":        {[]health{fallen, fresh, confirmed}, true},
		"speaker just began": {[]health{fresh, confirmed}, false},
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
	// A kept one was waiting for the disk when the passing one arrived.
	o := nothing.with(passing(api.Withdrawn), epoch.Add(time.Second)).with(lasting(api.Announced), epoch)
	if got := decide(o, confirmed); got.routes != api.Withdrawn {
		t.Errorf("an earlier state has ended it: %+v", got)
	}
	if o = o.seen(fallen).seen(confirmed); decide(o, confirmed).routes != api.Announced {
		t.Errorf("it does not end: %+v", o)
	}
}
