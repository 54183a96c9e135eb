package refusal

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

// A refusal is found in the errors that wrap it, reads as its reason, and the outer one wins.
func TestRefusal(t *testing.T) {
	if err := Invalid.Wrap(nil); err != nil {
		t.Errorf("%v", err)
	}
	inner := NotFound.Errorf("list: %w", fs.ErrNotExist)
	outer := fmt.Errorf("request: %w", Unavailable.Wrap(inner))
	var r *Error
	if !errors.As(outer, &r) || r.Kind != Unavailable || r.Error() != "list: file does not exist" {
		t.Errorf("%v", r)
	}
	if !errors.Is(outer, fs.ErrNotExist) {
		t.Error("the reason is lost")
	}
}
