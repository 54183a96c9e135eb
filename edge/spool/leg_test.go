package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// perDomain routes each recipient to its domain, but for those at example.net, which go to the default core.
func perDomain(env *mail.Envelope) []mail.Leg {
	var legs []mail.Leg
	plain := true
	for n, r := range env.Recipients {
		to := r.Path.Domain
		if to == "example.net" {
			to = ""
		} else {
			plain = false
		}
		i := slices.IndexFunc(legs, func(l mail.Leg) bool { return l.Destination == to })
		if i < 0 {
			i = len(legs)
			legs = append(legs, mail.Leg{Destination: to})
		}
		legs[i].Recipients = append(legs[i].Recipients, n)
	}
	if plain {
		return nil
	}
	return legs
}

// routed returns the options of a spool that routes per domain.
func routed(fs vfs.FS) Options {
	o := testOptions(fs)
	o.Route = perDomain
	return o
}

// storeTo commits a message to one recipient at each domain.
func storeTo(t testing.TB, s *Spool, domains ...string) mail.ID {
	t.Helper()
	env := message()
	env.Recipients = nil
	for _, domain := range domains {
		env.Recipients = append(env.Recipients, mail.Recipient{Path: mail.Path{Local: "b", Domain: domain}})
	}
	m, err := commit(s, env, []byte("Subject: x\r\n\r\nx\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	m.Release()
	return m.Envelope.ID
}

// legsOf lists what Each yields of a message.
func legsOf(t testing.TB, s *Spool, id mail.ID) (list []string) {
	t.Helper()
	for _, e := range entries(t, s) {
		if e.ID == id {
			list = append(list, fmt.Sprintf("%d to %q at %s, %d attempts", e.Leg, e.Destination, e.Domain, e.State.Attempts))
		}
	}
	return list
}

// A message's legs are there or none after a crash, each keeps its own state, and the last one that ends
// takes the message with it.
func TestLegs(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := openTest(t, routed(fs))
	id := storeTo(t, s, "example.net", "a.example", "b.example", "a.example")
	alone := storeTo(t, s, "example.net")
	want := []string{`0 to "" at example.net, 0 attempts`, `1 to "a.example" at a.example, 0 attempts`, `2 to "b.example" at b.example, 0 attempts`}
	if got := legsOf(t, s, id); !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
	m, leg, err := s.LoadLeg(id, 1)
	if err != nil || !slices.Equal(leg.Recipients, []int{1, 3}) || leg.Number != 1 || len(m.Legs) != 1 {
		t.Fatalf("%+v, %v", leg, err)
	}
	st := State{Attempts: 2, Due: time.Unix(2e9, 0).UTC(), Recipients: make([]RecipientState, 4)}
	st.Recipients[1] = RecipientState{Status: Delivered, Last: "250 ok", At: time.Unix(1e9, 0).UTC()}
	st.Recipients[0] = RecipientState{Last: "of another leg"}
	if err := s.Update(id, 1, st); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(alone, 0, State{Attempts: 7}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveLeg(id, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveLeg(id, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("a second removal: %v", err)
	}
	if _, _, err := s.LoadLeg(id, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("a leg that has ended: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openTest(t, routed(fs.CrashClone(vfs.CrashCloneCfg{})))
	want = []string{`1 to "a.example" at a.example, 2 attempts`, `2 to "b.example" at b.example, 0 attempts`}
	if got := legsOf(t, s, id); !slices.Equal(got, want) {
		t.Fatalf("after a restart: %q", got)
	}
	if got := legsOf(t, s, alone); !slices.Equal(got, []string{`0 to "" at example.net, 7 attempts`}) {
		t.Errorf("the message with one leg: %q", got)
	}
	_, leg, err = s.LoadLeg(id, 1)
	st.Recipients[0] = RecipientState{}
	if err != nil || !reflect.DeepEqual(leg.State, st) {
		t.Errorf("%+v, want %+v, %v", leg.State, st, err)
	}
	all, err := s.Load(id)
	if err != nil || len(all.Legs) != 2 || all.Legs[0].Number != 1 || all.Legs[1].Number != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := s.Replace(id, 1, nil, begin(t, s, "a failure"), message()); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Messages; n != 3 {
		t.Errorf("%d messages, want the two and a notification", n)
	}
	if err := s.RemoveLeg(id, 2); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, id)
	if n := s.Stats().Messages; n != 2 {
		t.Errorf("%d messages are left", n)
	}
	if err := s.Remove(alone); err != nil {
		t.Fatal(err)
	}
}

// Legs that end at the same moment remove their message once.
func TestLegsEndTogether(t *testing.T) {
	s := openTest(t, routed(vfs.NewMem()))
	for range 50 {
		id := storeTo(t, s, "a.example", "b.example", "c.example", "d.example")
		var ended atomic.Int32
		var all sync.WaitGroup
		for leg := range 4 {
			for range 2 { // and nobody ends one twice
				all.Go(func() {
					if s.RemoveLeg(id, leg) == nil {
						ended.Add(1)
					}
				})
			}
		}
		all.Wait()
		wantGone(t, s, id)
		if ended.Load() != 4 {
			t.Fatalf("%d legs of 4 ended", ended.Load())
		}
	}
	if n := s.Stats().Messages; n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// A leg can be split, also that of a message without records, and nothing of it is lost in a crash.
func TestSplit(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(fs)
	s := openTest(t, o)
	id := storeTo(t, s, "example.net", "a.example", "b.example")
	if err := s.Update(id, 0, State{Attempts: 3, Recipients: []RecipientState{{Status: Delivered}, {Last: "x"}, {}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Split(id, 0, []mail.Leg{{Destination: "core/a", Recipients: []int{1}}}); err == nil {
		t.Error("two recipients have no leg")
	}
	legs, err := s.Split(id, 0, []mail.Leg{{Destination: "core/a", Recipients: []int{0, 1}}, {Destination: "core/b", Recipients: []int{2}}})
	if err != nil || len(legs) != 2 || legs[1].Number != 1 {
		t.Fatalf("%+v, %v", legs, err)
	}
	if legs, err = s.Split(id, 0, []mail.Leg{{Recipients: []int{0}}, {Destination: "core/c", Recipients: []int{1}}}); err != nil || legs[1].Number != 2 {
		t.Fatalf("%+v, %v", legs, err)
	}
	o.FS = fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	want := []string{`0 to "" at example.net, 3 attempts`, `1 to "core/b" at b.example, 3 attempts`, `2 to "core/c" at a.example, 3 attempts`}
	if got := legsOf(t, s, id); !slices.Equal(got, want) {
		t.Fatalf("after a crash: %q", got)
	}
	_, leg, err := s.LoadLeg(id, 0)
	if err != nil || leg.State.Recipients[0].Status != Delivered {
		t.Errorf("%+v, %v", leg, err)
	}
	for n := range 3 {
		if err := s.RemoveLeg(id, n); err != nil {
			t.Fatal(err)
		}
	}
	wantGone(t, s, id)
}

// Records that were written for a leg are read as it was.
func TestLegRecord(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 1000 {
		recipients := 1 + rng.IntN(300)
		leg := mail.Leg{Destination: "d" + string(rune('a'+rng.IntN(26)))}
		for n := range recipients {
			if rng.IntN(3) == 0 {
				leg.Recipients = append(leg.Recipients, n)
			}
		}
		st := State{Attempts: rng.IntN(5), Held: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 && leg.Recipients != nil {
			st.Recipients = make([]RecipientState, recipients)
			for _, n := range leg.Recipients {
				st.Recipients[n].Status = Status(rng.IntN(3))
			}
		}
		got, err := decodeLeg(appendLeg(nil, &leg, &st), recipients)
		if err != nil || !reflect.DeepEqual(got.Leg, leg) || !reflect.DeepEqual(got.State, st) {
			t.Fatalf("%+v, want %+v %+v, %v", got, leg, st, err)
		}
	}
}

func FuzzLegRecord(f *testing.F) {
	f.Add(appendLeg(nil, &mail.Leg{Destination: "a", Recipients: []int{0, 2}}, &State{Attempts: 1}), 3)
	f.Add(appendLeg(nil, &mail.Leg{}, &State{Recipients: make([]RecipientState, 2)}), 2)
	f.Fuzz(func(t *testing.T, b []byte, recipients int) {
		recipients = min(max(recipients, 1), 1000)
		leg, err := decodeLeg(b, recipients)
		if err != nil {
			return
		}
		last := -1
		for _, n := range leg.Recipients {
			if n <= last || n >= recipients {
				t.Fatalf("recipients %v of %d", leg.Recipients, recipients)
			}
			last = n
		}
		again, err := decodeLeg(appendLeg(nil, &leg.Leg, &leg.State), recipients)
		if err != nil || !bytes.Equal(appendLeg(nil, &again.Leg, &again.State), appendLeg(nil, &leg.Leg, &leg.State)) {
			t.Fatalf("%+v becomes %+v, %v", leg, again, err)
		}
	})
}

// An export says which recipients of a message have still to get it, and from where.
func TestExportedLegs(t *testing.T) {
	o := routed(nil)
	o.Dir = t.TempDir()
	s := openTest(t, o)
	id := storeTo(t, s, "a.example", "b.example", "a.example")
	if err := s.Update(id, 0, State{Attempts: 3}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveLeg(id, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var got []Salvaged
	sum, err := Export(o.Dir, "", func(m Salvaged) { got = append(got, m) })
	if err != nil || sum.Messages != 1 || len(got) != 1 || got[0].State != nil || len(sum.Problems) != 0 {
		t.Fatalf("%+v, %+v, %v", sum, got, err)
	}
	legs := got[0].Legs
	if len(legs) != 1 || legs[0].Destination != "a.example" || !slices.Equal(legs[0].Recipients, []int{0, 2}) || legs[0].State.Attempts != 3 {
		t.Errorf("%+v", legs)
	}
}

// The end of messages without records of legs, and of whole messages, doesn't make the spool forget that
// others have records: their legs would be lost, or end with the first one.
func TestRecordsOfLegsAreCounted(t *testing.T) {
	s := openTest(t, routed(memory()))
	several := storeTo(t, s, "example.net", "a.example", "b.example")
	for range 5 {
		if err := s.RemoveLeg(storeTo(t, s, "example.net"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(storeTo(t, s, "example.net")); err != nil {
		t.Fatal(err)
	}
	whole := storeTo(t, s, "a.example", "b.example") // one of its legs is about to end when all do
	if err := errors.Join(s.RemoveLeg(whole, 1), s.Remove(whole)); err != nil {
		t.Fatal(err)
	}
	split := storeTo(t, s, "a.example", "a.example") // its only leg has a record, and then has two
	if _, err := s.Split(split, 0, []mail.Leg{{Destination: "c.example", Recipients: []int{0}}, {Destination: "d.example", Recipients: []int{1}}}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "all removals are written", func() bool { return s.legs.records.Load() == 5 })
	for number := range 3 {
		if _, leg, err := s.LoadLeg(several, number); err != nil || leg.Number != number {
			t.Errorf("leg %d: %+v, %v", number, leg, err)
		}
	}
	for number := range 2 {
		if err := errors.Join(s.RemoveLeg(several, number), s.RemoveLeg(split, number)); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := s.LoadLeg(several, 2); err != nil {
		t.Errorf("the last leg: %v", err)
	}
	if err := s.RemoveLeg(several, 2); err != nil {
		t.Error(err)
	}
	kit.Eventually(t, "no record is left", func() bool { return s.legs.records.Load() == 0 && s.Stats().Messages == 0 })
}
