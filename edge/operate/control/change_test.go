package control

import (
	"encoding/json"
	"net/url"
	"testing"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

func FuzzReadChange(f *testing.F) {
	query, err := api.ParseQuery(url.Values{"state": {"held"}, "sender": {"<>"}, "recipient": {"@example.net"}, "limit": {"17"}})
	if err != nil {
		f.Fatal(err)
	}
	full, err := json.Marshal(api.Change{All: true, QueueQuery: query})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	for _, s := range []string{`{"ids":["0000000000000001"]}`, `{"ids":["0000000000000001"],"reason":"x\u001b"}`, `{"all":true}{}`, `{`, `[]`, `null`, `{"all":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c api.Change
		if decodeJSON(text, &c) != nil || checkChange(&c, api.Hold) != nil {
			return
		}
		if c.All == (len(c.IDs) > 0) || len(c.IDs) > api.MaxPage {
			t.Fatalf("%s: accepted as %+v", text, c)
		}
		if c.Reason != words.Clean(c.Reason) {
			t.Fatalf("%s: reason %q", text, c.Reason)
		}
	})
}
