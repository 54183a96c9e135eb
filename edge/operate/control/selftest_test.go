package control_test

import (
	"errors"
	"testing"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
)

func TestClientSelfTest(t *testing.T) {
	n := controltest.New()
	c := start(t, n)
	got, err := c.SelfTest(t.Context())
	if err != nil || len(got.Listeners) != 1 || got.Listeners[0].Address != "[::]:25" || got.Listeners[0].ID != controltest.ID(900) ||
		got.Listeners[0].Bytes != 512 || got.Listeners[0].Took <= 0 {
		t.Errorf("%+v, %v", got, err)
	}
	n.SelfTestErr = errors.New("[::]:25: RCPT: temporary failure: 451 4.3.0 no")
	_, err = c.SelfTest(t.Context())
	if !errors.Is(err, &api.Error{Code: api.Unavailable}) || err.Error() != "the self-test failed: "+n.SelfTestErr.Error() {
		t.Errorf("%v", err)
	}
}

func TestDrainUntil(t *testing.T) {
	n := controltest.New()
	c := start(t, n)
	if _, err := c.Drain(t.Context(), api.DrainRequest{Until: "noon"}); !errors.Is(err, &api.Error{Code: api.BadRequest}) {
		t.Errorf("until noon: %v", err)
	}
	if len(n.Orders) > 0 {
		t.Errorf("%+v reached the node", n.Orders)
	}
	s, err := c.Drain(t.Context(), api.DrainRequest{Until: api.UntilRestart})
	if err != nil || s.Drain.Until != api.UntilRestart || len(n.Orders) != 1 || n.Orders[0].Until != api.UntilRestart {
		t.Errorf("%+v, %v", s.Drain, err)
	}
}
