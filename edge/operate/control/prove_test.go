package control_test

import (
	"errors"
	"testing"

	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

func TestClientProves(t *testing.T) {
	n := controltest.New()
	c := start(t, n)
	got, err := c.Prove(t.Context())
	if err != nil || len(got.Listeners) != 1 || got.Listeners[0].Address != "[::]:25" || got.Listeners[0].ID != controltest.ID(900) ||
		got.Listeners[0].Octets != 512 || got.Listeners[0].Took <= 0 {
		t.Errorf("%+v, %v", got, err)
	}
	n.ProveErr = errors.New("[::]:25: RCPT: temporary failure: 451 4.3.0 no")
	_, err = c.Prove(t.Context())
	if !errors.Is(err, &control.Error{Code: control.Unavailable}) || err.Error() != "not proven: "+n.ProveErr.Error() {
		t.Errorf("%v", err)
	}
}

func TestDrainUntil(t *testing.T) {
	n := controltest.New()
	c := start(t, n)
	if _, err := c.Drain(t.Context(), control.DrainRequest{Until: "noon"}); !errors.Is(err, &control.Error{Code: control.BadRequest}) {
		t.Errorf("until noon: %v", err)
	}
	if len(n.Orders) > 0 {
		t.Errorf("%+v reached the node", n.Orders)
	}
	s, err := c.Drain(t.Context(), control.DrainRequest{Until: control.UntilRestart})
	if err != nil || s.Drain.Until != control.UntilRestart || len(n.Orders) != 1 || n.Orders[0].Until != control.UntilRestart {
		t.Errorf("%+v, %v", s.Drain, err)
	}
}
