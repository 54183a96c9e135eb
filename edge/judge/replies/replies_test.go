package replies

import (
	"regexp"
	"strings"
	"testing"

	"anymx/edge/config"
)

var keys = regexp.MustCompile("`([a-z_]+)\\.([a-z_]+)`")

// Each row has an id of its own, a code of its class, words that fit in a line, and names no key that
// there is not.
func TestTable(t *testing.T) {
	known := map[string]bool{}
	for _, s := range config.Describe().Inside {
		for _, k := range s.Keys {
			known[s.Name+"."+k.Name] = true
		}
	}
	ids := map[string]bool{}
	for _, r := range All() {
		if ids[r.ID] || !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(r.ID) {
			t.Errorf("%s: bad or used id", r.ID)
		}
		ids[r.ID] = true
		if class := r.Enhanced[0]; class != 0 && class != r.Code/100 {
			t.Errorf("%s: %d %s is of two classes", r.ID, r.Code, r.Enhanced)
		}
		if r.Enhanced[0] == 0 && r.Code >= 400 {
			t.Errorf("%s has no enhanced code", r.ID)
		}
		if len(r.Text) > 200 || strings.ContainsAny(r.Text, "\r\n") || strings.HasSuffix(r.Text, ".") {
			t.Errorf("%s: text %q", r.ID, r.Text)
		}
		if !strings.HasSuffix(r.When, ".") {
			t.Errorf("%s: %q is not a sentence", r.ID, r.When)
		}
		for _, m := range keys.FindAllStringSubmatch(r.When, -1) {
			if !known[m[1]+"."+m[2]] {
				t.Errorf("%s: there is no key %s", r.ID, m[0])
			}
		}
	}
}

// A name that a client chose can't become a verb, and a row without verbs is returned as it is.
func TestWith(t *testing.T) {
	r := NoParameter.With("MAIL", "50%d")
	if r.Text != "MAIL parameter 50%d is not supported" || r.ID != "unknown-parameter" || r.Code != 555 {
		t.Errorf("%+v", r)
	}
	if r := OK.With(); r.Text != "Ok" {
		t.Errorf("%+v", r)
	}
}
