package control

import (
	"errors"
	"fmt"
	"testing"

	"anymx/edge/operate/api"
	"anymx/edge/refusal"
)

// A refusal is answered with the code of its kind and its own text, whatever wraps it; an error
// without a kind is a failure.
func TestCodesOfErrors(t *testing.T) {
	const why = "the shield is not loaded"
	for _, tt := range []struct {
		err    error
		code   api.Code
		status int
	}{
		{refusal.Invalid.Errorf(why), api.BadRequest, 400},
		{refusal.NotFound.Errorf(why), api.NotFound, 404},
		{refusal.Forbidden.Errorf(why), api.Forbidden, 403},
		{refusal.Conflict.Errorf(why), api.Superseded, 409},
		{refusal.Unavailable.Errorf(why), api.Unavailable, 503},
		{fmt.Errorf("request: %w", refusal.Unavailable.Errorf(why)), api.Unavailable, 503},
		{refusal.Conflict.Wrap(&api.Error{Code: api.BadRequest, Text: why}), api.Superseded, 409},
		{fmt.Errorf("request: %w", &api.Error{Code: api.TooLarge, Text: why}), api.TooLarge, 413},
		{errors.New(why), api.Internal, 500},
	} {
		e := asError(tt.err)
		if e.Code != tt.code || httpStatus(e.Code) != tt.status || e.Text != why {
			t.Errorf("%#v: %d %+v", tt.err, httpStatus(e.Code), e)
		}
	}
}
