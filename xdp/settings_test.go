package xdp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestSettingsAreCheckedWhole(t *testing.T) {
	one := []uint16{25}
	for name, c := range map[string]struct {
		settings Settings
		faults   []string // what the error must say; none: no error
	}{
		"nothing":       {Settings{}, nil},
		"all defaults":  {Settings{Services: three, Key: key}, nil},
		"no address":    {Settings{Services: []Service{{netip.Addr{}, one}}}, []string{"Services: invalid IP"}},
		"unspecified":   {Settings{Services: []Service{{addr("::"), one}}}, []string{"Services: ::"}},
		"mapped":        {Settings{Services: []Service{{addr("::ffff:192.0.2.1"), one}}}, []string{"can be protected"}},
		"multicast":     {Settings{Services: []Service{{addr("224.0.0.1"), one}}}, []string{"224.0.0.1"}},
		"zone":          {Settings{Services: []Service{{addr("fe80::1%eth0"), one}}}, []string{"fe80::1%eth0"}},
		"twice":         {Settings{Services: []Service{mail4, mail4}}, []string{"named twice"}},
		"no ports":      {Settings{Services: []Service{{mail4.Address, nil}}}, []string{"0 ports"}},
		"port 0":        {Settings{Services: []Service{{mail4.Address, []uint16{0}}}}, []string{"port 0"}},
		"nine ports":    {Settings{Services: []Service{{mail4.Address, make([]uint16, 9)}}}, []string{"9 ports"}},
		"many at once":  {Settings{Key: []byte("too little"), Epoch: time.Second, Cookies: 9, MTU: 500, SYNRate: -1, Hold: -1}, []string{"Key", "Epoch", "Cookies", "MTU", "SYNRate", "Hold"}},
		"too many":      {Settings{Services: many(257)}, []string{"more than 256"}},
		"as many as go": {Settings{Services: many(256)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.settings.Validate()
			if (err != nil) != (c.faults != nil) {
				t.Fatalf("%v", err)
			}
			for _, fault := range c.faults {
				if !strings.Contains(err.Error(), fault) {
					t.Errorf("no word of %q in: %v", fault, err)
				}
			}
			if err != nil && len(c.settings.Key) > 0 && strings.Contains(err.Error(), string(c.settings.Key)) {
				t.Error("the error shows the key")
			}
		})
	}
}

func many(n int) (services []Service) {
	a := addr("192.0.2.0")
	for range n {
		services = append(services, Service{a, []uint16{25}})
		a = a.Next()
	}
	return services
}

func TestTableOfSettings(t *testing.T) {
	all := sysctls{cookies: true, sack: true, timestamps: true, windowScale: true}
	got := Settings{ConnectionRate: 20}.table(all)
	want := bpfSettings{
		Flags: flagReady, Drops: 1<<Malformed | 1<<Blocked | 1<<Limited | 1<<SYNFailed | 1<<Bogus | 1<<Unparsable | 1<<Fragment | 1<<Unserved,
		Mss4: 1460, Mss6: 1440, Limits: [2]uint64{134, 134}, Hold: 10e9, Memory: 120e9, Interval: 50e6, Burst: 199 * 50e6,
	}
	if got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	got = Settings{Key: key, Cookies: Always, PassFragments: true, PassUnparsable: true, PassUnserved: true, SYNRate: 1}.table(sysctls{})
	if got.Flags != flagReady|flagShared|flagNoSACK|flagNoTimestamps|flagNoWindowScale || got.Cookies != uint32(Never) ||
		got.Drops != 1<<Malformed|1<<Blocked|1<<Limited|1<<SYNFailed|1<<Bogus || got.Limits[0] != 1 {
		t.Errorf("%+v", got)
	}
}

func TestServicesChangeLive(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: []Service{mail4, mail6}, Cookies: Always})
	verdictOf := func(f frame) Verdict {
		count := watch(t, s)
		run(t, s.shield, f.bytes())
		v, _ := count.next(t)
		return v
	}
	if err := s.Configure(Settings{Services: []Service{{mail4.Address, []uint16{8025}}, other}, Cookies: Always}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    frame
		want Verdict
	}{
		"a port that is gone":     {synTo(mail4), Unserved},
		"an address that is gone": {synTo(mail6), Other},
		"an address that came":    {synTo(other), SYNAnswered},
	} {
		if got := verdictOf(c.f); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
	if err := s.Configure(Settings{Services: []Service{{}}}); err == nil {
		t.Fatal("bad settings were taken")
	}
	if got := verdictOf(synTo(other)); got != SYNAnswered {
		t.Errorf("after settings that were refused: %s", got)
	}
}
