package api

import (
	"encoding/json"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"anymx/edge/mail"
)

func mustPattern(t testing.TB, s string) Pattern {
	t.Helper()
	p, err := ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustPath(t testing.TB, s string) mail.Path {
	t.Helper()
	var p mail.Path
	if err := p.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern   string
		yes, no   []string
		spelling  string
		wantError bool
	}{
		{pattern: "", yes: []string{"", "a@b", "postmaster"}},
		{pattern: "<>", yes: []string{""}, no: []string{"a@b"}},
		{pattern: "a@example.net", yes: []string{"a@example.net", "A@EXAMPLE.net"}, no: []string{"", "b@example.net", "a@example.org", "a@x.example.net"}},
		{pattern: "<a@example.net>", yes: []string{"a@example.net"}, spelling: "a@example.net"},
		{pattern: "@example.net", yes: []string{"a@example.net", "b@Example.Net"}, no: []string{"", "a@x.example.net", "a@example.net.org"}},
		{pattern: `"a b"@example.net`, yes: []string{`"a b"@example.net`}, no: []string{"ab@example.net"}},
		{pattern: "@[192.0.2.1]", yes: []string{"a@[192.0.2.1]"}, no: []string{"a@[192.0.2.2]"}},
		{pattern: "postmaster", yes: []string{"postmaster"}, no: []string{"postmaster@example.net"}},
		{pattern: "å@example.net", yes: []string{"Å@example.net"}},
		{pattern: "example.net", wantError: true},
		{pattern: "@", wantError: true},
		{pattern: "@a@b", wantError: true},
		{pattern: "a@b c", wantError: true},
		{pattern: "<a@b", wantError: true},
		{pattern: "*@b.c,d@e", wantError: true},
		{pattern: " ", wantError: true},
	} {
		p, err := ParsePattern(tt.pattern)
		if (err != nil) != tt.wantError {
			t.Errorf("%q: error %v", tt.pattern, err)
		}
		if err != nil {
			continue
		}
		if want := tt.spelling; p.String() != want && p.String() != tt.pattern {
			t.Errorf("%q is written as %q", tt.pattern, p)
		}
		for _, s := range tt.yes {
			if !p.Match(mustPath(t, s)) {
				t.Errorf("%q does not match %q", tt.pattern, s)
			}
		}
		for _, s := range tt.no {
			if p.Match(mustPath(t, s)) {
				t.Errorf("%q matches %q", tt.pattern, s)
			}
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"", "<>", "a@b.c", "@b.c", `"a b"@c`, "<a@b>", "postmaster", "@[IPv6:::1]", "x@y@z", "@\xff", "<<>>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePattern(s)
		if err != nil {
			return
		}
		again, err := ParsePattern(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is read as %+v, written as %q, and read back as %+v, %v", s, p, p, again, err)
		}
		if p.IsZero() != (s == "") {
			t.Fatalf("%q means any mailbox: %v", s, p.IsZero())
		}
		if !p.null && p.path.Local != "" && !p.Match(p.path) {
			t.Fatalf("%q does not match itself", s)
		}
	})
}

func sampleQuery(t testing.TB) QueueQuery {
	return QueueQuery{
		State: Held, Destination: DefaultCore, Sender: mustPattern(t, "<>"), Recipient: mustPattern(t, "@example.net"),
		Before: time.Date(2026, 3, 14, 9, 26, 53, 123456789, time.UTC), After: mail.ID{1, 2, 3}, Limit: 17,
	}
}

func TestQueryRoundTrip(t *testing.T) {
	for _, q := range []QueueQuery{{}, sampleQuery(t), {Limit: 1}, {Sender: mustPattern(t, "a@b")}} {
		got, err := ParseQuery(q.Values())
		if err != nil || !reflect.DeepEqual(got, q) {
			t.Errorf("%+v comes back from %q as %+v, %v", q, q.Values().Encode(), got, err)
		}
		text, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var fromJSON QueueQuery
		if err := json.Unmarshal(text, &fromJSON); err != nil || !reflect.DeepEqual(fromJSON, q) {
			t.Errorf("%+v comes back from %s as %+v, %v", q, text, fromJSON, err)
		}
	}
}

func TestParseQueryRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"state=frozen":         `want active, waiting or held`,
		"limit=0":              `"0" is not a number of messages`,
		"limit=-1":             `"-1" is not a number of messages`,
		"limit=many":           `"many" is not a number of messages`,
		"after=xyz":            `not a spool id`,
		"before=yesterday":     `parameter "before"`,
		"sender=nobody":        `want an address`,
		"recipient=@":          `want an address`,
		"sendr=a@b":            `parameter "sendr": unknown`,
		"state=held&state=any": `stands 2 times`,
	} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseQuery(v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", query, err, want)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	f.Add(sampleQuery(f).Values().Encode())
	for _, s := range []string{"", "limit=1", "limit=99999999999999999999", "state=", "before=2026-03-14T09:26:53%2B01:00", "after=0000000000000000", "%zz", "a=1&a=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := url.ParseQuery(s)
		if err != nil {
			return
		}
		q, err := ParseQuery(v)
		if err != nil {
			return
		}
		again, err := ParseQuery(q.Values())
		if err != nil {
			t.Fatalf("%q: what was written can't be read: %v", s, err)
		}
		if !again.Before.Equal(q.Before) {
			t.Fatalf("%q: before %v became %v", s, q.Before, again.Before)
		}
		if again.Before, q.Before = (time.Time{}), (time.Time{}); again != q {
			t.Fatalf("%q: %+v became %+v", s, q, again)
		}
		if p := q.Page(); p < 1 || p > MaxPage {
			t.Fatalf("%q: a page of %d", s, p)
		}
	})
}

func TestQueryMatch(t *testing.T) {
	arrived := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	item := &QueueItem{State: Held, Destination: "core/west", Arrived: arrived, Sender: mustPath(t, "a@b.c"), Recipient: mustPath(t, "x@y.z")}
	to := func() []mail.Path { return []mail.Path{mustPath(t, "w@y.z"), mustPath(t, "x@y.z")} }
	for _, tt := range []struct {
		q    QueueQuery
		want bool
	}{
		{QueueQuery{}, true},
		{QueueQuery{After: mail.ID{0xff}, Limit: 1}, true},
		{QueueQuery{State: Held}, true},
		{QueueQuery{State: Active}, false},
		{QueueQuery{Before: arrived}, false},
		{QueueQuery{Before: arrived.Add(1)}, true},
		{QueueQuery{Destination: "core/west"}, true},
		{QueueQuery{Destination: DefaultCore}, false},
		{QueueQuery{Sender: mustPattern(t, "@b.c")}, true},
		{QueueQuery{Sender: mustPattern(t, "<>")}, false},
		{QueueQuery{Recipient: mustPattern(t, "w@y.z")}, true},
		{QueueQuery{Recipient: mustPattern(t, "v@y.z")}, false},
		{QueueQuery{State: Held, Sender: mustPattern(t, "a@b.c"), Recipient: mustPattern(t, "@y.z"), Before: arrived.Add(1)}, true},
		{QueueQuery{State: Held, Sender: mustPattern(t, "a@b.c"), Recipient: mustPattern(t, "@c.z"), Before: arrived.Add(1)}, false},
	} {
		if got := tt.q.Match(item, to); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.q, got, tt.want)
		}
	}
	never := func() []mail.Path { t.Error("the recipients were asked for without need"); return nil }
	QueueQuery{State: Held}.Match(item, never)
	QueueQuery{State: Active, Recipient: mustPattern(t, "@y.z")}.Match(item, never)
}
