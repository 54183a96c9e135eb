package xdp

import (
	"slices"
	"testing"
	"time"
)

// offers has options of SYNs and which of them the cookie must contain.
var offers = []struct {
	name    string
	options []byte
	mss4    byte
	mss6    byte
	scale   byte
	sack    byte
}{
	{"none", nil, 0, 0, 15, 0},
	{"Linux", linux, 3, 3, 9, 1},
	{"tunnel", []byte{2, 4, 5, 0x50, 4, 2, 1, 1}, 1, 1, 15, 1},
	{"small MSS", []byte{2, 4, 1, 0}, 0, 0, 15, 0},
	{"scale above 14", []byte{2, 4, 5, 0xa0, 1, 3, 3, 20}, 2, 3, 14, 0},
	{"jumbo", []byte{2, 4, 0x22, 0x84, 1, 3, 3, 0}, 3, 3, 0, 0},
	{"cut off", []byte{3, 3, 5, 2, 4, 5, 0xb4, 8}, 3, 3, 5, 0},
}

func TestCookieCarriesTheOptions(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, Cookies: Always})
	for _, offer := range offers {
		eachFamily(t, func(t *testing.T, service Service) {
			f := synTo(service)
			f.options = offer.options
			_, answer := run(t, s.shield, f.bytes())
			_, tcp := headers(answer)
			low := tcp[7]
			mss := offer.mss4
			if !service.Address.Is4() {
				mss = offer.mss6
			}
			if want := mss | offer.scale<<2 | offer.sack<<6; low&0x7f != want {
				t.Errorf("%s: the cookie says %07b, not %07b", offer.name, low&0x7f, want)
			}
			count := watch(t, s)
			for change, want := range map[uint32]Verdict{0: Cookie, 1: Bogus, 2: Bogus, 1 << 7: Bogus, 1 << 8: Bogus, 1 << 31: Bogus} {
				back := f.reply(answer)
				back.ack += change
				run(t, s.shield, back.bytes())
				if got, _ := count.next(t); got != want {
					t.Errorf("%s: the cookie plus %d is %s, not %s", offer.name, change, got, want)
				}
			}
		})
	}
}

// exchange gets a cookie from one shield and returns it to another.
func exchange(t *testing.T, from, to *Shield, service Service, between func()) Verdict {
	t.Helper()
	f := synTo(service)
	f.options = linux
	action, answer := run(t, from.shield, f.bytes())
	if action != xdpTX {
		t.Fatal("the SYN was not answered")
	}
	between()
	count := watch(t, to)
	run(t, to.shield, f.reply(answer).bytes())
	v, _ := count.next(t)
	return v
}

func nothing() {}

func TestNodesWithOneKeyTakeEachOthersCookies(t *testing.T) {
	a := configured(t, Options{}, Settings{Services: three, Cookies: Always, Key: key})
	// Whether flooded or not, this node accepts the cookie of another node.
	b := configured(t, Options{}, Settings{Services: three, Cookies: Adaptive, Key: key})
	stranger := configured(t, Options{}, Settings{Services: three, Cookies: Always, Key: []byte("another key that is long enough")})
	alone := configured(t, Options{}, Settings{Services: three, Cookies: Always})
	eachFamily(t, func(t *testing.T, service Service) {
		for _, c := range []struct {
			name     string
			from, to *Shield
			want     Verdict
		}{
			{"the same key", a, b, Cookie},
			{"another key", a, stranger, Bogus},
			{"another key, the other way round", stranger, a, Bogus},
			{"no shared key", alone, a, Bogus},
			{"its own", alone, alone, Cookie},
		} {
			if got := exchange(t, c.from, c.to, service, nothing); got != c.want {
				t.Errorf("%s: %s, not %s", c.name, got, c.want)
			}
		}
	})
}

func TestNodeAloneTakesNoCookieInPeace(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, Cookies: Always})
	calm := func() {
		if err := s.Configure(Settings{Services: three}); err != nil {
			t.Fatal(err)
		}
	}
	if got := exchange(t, s, s, mail4, calm); got != Stray {
		t.Errorf("a cookie in peace is %s", got)
	}
}

func TestKeyRotation(t *testing.T) {
	const epoch = time.Minute
	s := configured(t, Options{}, Settings{Services: three, Cookies: Always, Key: key, Epoch: epoch})
	start := time.Unix(1_800_000_000, 0).Truncate(epoch)
	at := func(d time.Duration) {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.rotate(start.Add(d)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		made, shown time.Duration
		want        Verdict
	}{
		{0, epoch / 3, Cookie},
		{0, epoch - 1, Cookie},
		{0, epoch + epoch/2 - 1, Cookie}, // in the first half of the next epoch
		{0, epoch + epoch/2, Bogus},
		{epoch - 1, epoch + epoch/2 - 1, Cookie}, // valid for at least half an epoch
		{0, 2 * epoch, Bogus},
		{epoch, epoch - 1, Cookie}, // returned to a node whose clock is behind
		{epoch + epoch/3, epoch / 2, Cookie},
		{epoch, epoch/2 - 1, Bogus},
	} {
		at(c.made)
		if got := exchange(t, s, s, mail4, func() { at(c.shown) }); got != c.want {
			t.Errorf("made at %s, shown at %s: %s, not %s", c.made, c.shown, got, c.want)
		}
	}
}

func TestEpochs(t *testing.T) {
	for _, c := range []struct{ seconds, current, other uint64 }{
		{1000, 10, 9}, {1049, 10, 9}, {1050, 10, 11}, {1099, 10, 11}, {1100, 11, 10},
	} {
		current, other := epochs(time.Unix(int64(c.seconds), 0), 100*time.Second)
		if current != c.current || other != c.other {
			t.Errorf("at %d: %d and %d, not %d and %d", c.seconds, current, other, c.current, c.other)
		}
	}
	if derive(key, 1) == derive(key, 2) || derive(key, 1) == derive([]byte("another key, long enough"), 1) {
		t.Error("keys of different epochs or secrets are the same")
	}
	if derive(key, 1) != derive(slices.Clone(key), 1) {
		t.Error("two nodes derive different keys")
	}
}
