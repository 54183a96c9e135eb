package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"anymx/edge/mail"
)

var testID = mail.ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}

// envelopes returns envelopes of all shapes.
func envelopes() map[string]*mail.Envelope {
	many := &mail.Envelope{Arrived: time.Unix(1, 0).UTC(), Sender: mail.Path{Local: "a", Domain: "b.example"}}
	for range 300 {
		many.Recipients = append(many.Recipients, mail.Recipient{Path: mail.Path{Local: strings.Repeat("l", 64), Domain: "d.example"}})
	}
	return map[string]*mail.Envelope{
		"zero": {Recipients: []mail.Recipient{}},
		"null sender": {
			Arrived:    time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC),
			Recipients: []mail.Recipient{{Path: mail.Path{Local: "postmaster"}}},
			Size:       1 << 40, Origin: mail.Local, NoDSN: true,
		},
		"all": {
			Arrived: time.Date(2026, 2, 3, 4, 5, 6, 789, time.UTC),
			Sender:  mail.Path{Local: "käthe", Domain: "bücher.example"},
			Recipients: []mail.Recipient{
				{Path: mail.Path{Local: "a b", Domain: "[192.0.2.1]"}, Notify: mail.NotifySuccess | mail.NotifyDelay, ORcpt: "rfc822;a@b"},
				{Path: mail.Path{Local: "c", Domain: "example.net"}, Notify: mail.NotifyNever},
				{},
			},
			Body: mail.Body8Bit, SMTPUTF8: true, RequireTLS: true, Return: mail.ReturnHeaders, EnvID: "id \x00 \xff",
			Size: 12345, Origin: mail.Outbound, Content: mail.ContentKnown | mail.ContentEightBody,
			Client: mail.Client{
				Addr:    netip.MustParseAddrPort("[fe80::1%eth0]:25"),
				Service: netip.MustParseAddrPort("192.0.2.25:8025"),
				Helo:    "helo", Name: "name.example", Proto: "UTF8SMTPS", TLS: "TLS1.3 X",
			},
		},
		"many": many,
		"parts": {
			Recipients: []mail.Recipient{}, Size: 1000, Front: []byte("Received: x\r\nX-Spam: no\r\n\tat all\r\n"),
			Cuts: []mail.Span{{Start: 0, End: 1}, {Start: 1, End: 4}, {Start: 100, End: 900}},
			Tags: []string{"a", "b"}, Route: "slow",
		},
		"front":        {Recipients: []mail.Recipient{}, Size: 6, Front: []byte("A: b\r\n")},
		"nothing left": {Recipients: []mail.Recipient{}, Cuts: []mail.Span{{Start: 0, End: 1 << 40}}, NoDSN: true},
		"same size":    {Recipients: []mail.Recipient{}, Size: 6, Front: []byte("A: b\r\n"), Cuts: []mail.Span{{Start: 0, End: 6}}},
	}
}

func states() map[string]State {
	return map[string]State{
		"zero": {},
		"all": {
			Attempts: 7, Due: time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC), LastAttempt: time.Date(2025, 2, 3, 4, 5, 6, 7, time.UTC),
			Held: true, HoldReason: "because", DelayNoticed: true,
			Recipients: []RecipientState{
				{Status: Failed, Last: "550 no", At: time.Unix(5, 0).UTC()},
				{},
				{Status: Delivered, At: time.Unix(6, 0).UTC()},
			},
		},
		"none pending": {Recipients: []RecipientState{}},
	}
}

func TestEnvelopeRecord(t *testing.T) {
	for name, env := range envelopes() {
		t.Run(name, func(t *testing.T) {
			env.ID = testID
			b := appendEnvelope(nil, env, header{inFile: true, sum: 0xdeadbeef})
			got, h, err := decodeEnvelope(testID, b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, env) {
				t.Errorf("read back\n%+v, want\n%+v", got, env)
			}
			want := header{inFile: true, origin: env.Origin, recipients: len(env.Recipients), size: env.BodySize(), delivered: env.Size, arrived: env.Arrived, sum: 0xdeadbeef}
			if h != want {
				t.Errorf("header %+v, want %+v", h, want)
			}
		})
	}
}

func TestStateRecord(t *testing.T) {
	for name, st := range states() {
		t.Run(name, func(t *testing.T) {
			got, err := decodeState(appendState(nil, &st))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, st) {
				t.Errorf("read back\n%+v, want\n%+v", got, st)
			}
		})
	}
}

// The last failure is bounded, and not cut within a character.
func TestStateRecordClips(t *testing.T) {
	st := State{Recipients: []RecipientState{{Last: strings.Repeat("a", MaxLast-1) + "äöü"}}}
	got, err := decodeState(appendState(nil, &st))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("a", MaxLast-1); got.Recipients[0].Last != want {
		t.Errorf("kept %q", got.Recipients[0].Last)
	}
}

// A field that a later version of the program adds is skipped.
func TestRecordSkipsUnknownFields(t *testing.T) {
	unknown := append(appendGroup(nil, 99, 3), "new"...)
	env := envelopes()["all"]
	env.ID = testID
	b := appendEnvelope(nil, env, header{})
	b = append(b[:headerSize:headerSize], append(bytes.Clone(unknown), b[headerSize:]...)...)
	b = append(b, unknown...)
	got, _, err := decodeEnvelope(testID, b)
	if err != nil || !reflect.DeepEqual(got, env) {
		t.Errorf("read back %+v, %v", got, err)
	}
	st := states()["all"]
	gotState, err := decodeState(append(appendState(nil, &st), unknown...))
	if err != nil || !reflect.DeepEqual(gotState, st) {
		t.Errorf("read back %+v, %v", gotState, err)
	}
}

func TestRecordErrors(t *testing.T) {
	env := appendEnvelope(nil, envelopes()["all"], header{})
	st := states()["all"]
	state := appendState(nil, &st)
	newer := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[0]++
		return b
	}
	tooMany := bytes.Clone(env)
	binary.LittleEndian.PutUint32(tooMany[4:], 1<<31)
	negative := bytes.Clone(env)
	binary.LittleEndian.PutUint64(negative[8:], 1<<63)
	for _, c := range []struct {
		name   string
		record []byte
		state  bool
		want   error
	}{
		{"empty envelope", nil, false, errRecord},
		{"newer envelope", newer(env), false, ErrNewer},
		{"short header", env[:headerSize-1], false, errRecord},
		{"cut field", env[:len(env)-1], false, errRecord},
		{"a recipient too few", tooMany, false, errRecord},
		{"negative size", negative, false, errRecord},
		{"empty state", nil, true, errRecord},
		{"newer state", newer(state), true, ErrNewer},
		{"cut state", state[:len(state)-1], true, errRecord},
		{"endless number", append([]byte{recordVersion}, bytes.Repeat([]byte{0xff}, 20)...), true, errRecord},
		{"number with a tail", append([]byte{recordVersion}, tagAttempts, 2, 1, 1), true, errRecord},
		{"short time", append([]byte{recordVersion}, tagDue, 1, 1), true, errRecord},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			if c.state {
				_, err = decodeState(c.record)
			} else {
				_, _, err = decodeEnvelope(testID, c.record)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// Times outside the range of nanoseconds become the zero time instead of a wrong one.
func TestRecordTimes(t *testing.T) {
	for _, tm := range []time.Time{{}, time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got := unstamp(stamp(tm)); !got.IsZero() {
			t.Errorf("%v became %v", tm, got)
		}
	}
	tm := time.Date(2026, 7, 1, 12, 0, 0, 1, time.FixedZone("", 7200))
	if got := unstamp(stamp(tm)); !got.Equal(tm) || got.Location() != time.UTC {
		t.Errorf("%v became %v", tm, got)
	}
}

func FuzzEnvelopeRecord(f *testing.F) {
	for _, env := range envelopes() {
		f.Add(appendEnvelope(nil, env, header{inFile: true, sum: 7}))
	}
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		env, h, err := decodeEnvelope(testID, b)
		if err != nil {
			return
		}
		// A record that can be decoded can be encoded, and then decodes to the same.
		again, h2, err := decodeEnvelope(testID, appendEnvelope(nil, env, h))
		if err != nil {
			t.Fatalf("%v: %+v", err, env)
		}
		if !reflect.DeepEqual(again, env) || h2 != h {
			t.Errorf("read\n%+v %+v, then\n%+v %+v", env, h, again, h2)
		}
	})
}

func FuzzStateRecord(f *testing.F) {
	for _, st := range states() {
		f.Add(appendState(nil, &st))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := decodeState(b)
		if err != nil {
			return
		}
		st.HoldReason = clip(st.HoldReason, MaxLast)
		for i := range st.Recipients {
			st.Recipients[i].Last = clip(st.Recipients[i].Last, MaxLast)
		}
		again, err := decodeState(appendState(nil, &st))
		if err != nil {
			t.Fatalf("%v: %+v", err, st)
		}
		if !reflect.DeepEqual(again, st) {
			t.Errorf("read\n%+v, then\n%+v", st, again)
		}
	})
}
