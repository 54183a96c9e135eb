package config

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	for _, x := range []struct {
		in    string
		want  Size
		shown string
	}{
		{"0", 0, "0"},
		{"512", 512, "512"},
		{"512B", 512, "512"},
		{"2048", 2048, "2KiB"},
		{"10KB", 10000, "10KB"},
		{"10000", 10000, "10KB"},
		{"35MiB", 35 << 20, "35MiB"},
		{" 35 mib ", 35 << 20, "35MiB"},
		{"1024MiB", 1 << 30, "1GiB"},
		{"1GB", 1e9, "1GB"},
		{"3TB", 3e12, "3TB"},
		{"8388607TiB", 8388607 << 40, "8388607TiB"},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807"},
	} {
		var got Size
		if err := got.UnmarshalText([]byte(x.in)); err != nil || got != x.want || got.String() != x.shown {
			t.Errorf("%q: got %d %q (%v), want %d %q", x.in, int64(got), got, err, int64(x.want), x.shown)
		}
	}
	for in, part := range map[string]string{
		"":                    "not a size",
		"MiB":                 "not a size",
		"1.5GiB":              "the units are",
		"35M":                 "write MiB",
		"35g":                 "write GiB",
		"35 MiB extra":        "the units are",
		"-1":                  "negative",
		"8388608TiB":          "larger",
		"9223372036854775808": "larger",
		"0x10":                "the units are",
	} {
		got := Size(7)
		if err := got.UnmarshalText([]byte(in)); err == nil || !strings.Contains(err.Error(), part) || got != 7 {
			t.Errorf("%q: got %d, %v; want an error with %q", in, got, err, part)
		}
	}
}

func TestDuration(t *testing.T) {
	for _, x := range []struct {
		in    string
		want  time.Duration
		shown string
	}{
		{"0", 0, "0s"},
		{"0s", 0, "0s"},
		{"250ms", 250 * time.Millisecond, "250ms"},
		{"30s", 30 * time.Second, "30s"},
		{"90s", 90 * time.Second, "1m30s"},
		{"5m", 5 * time.Minute, "5m"},
		{"60m", time.Hour, "1h"},
		{"4h", 4 * time.Hour, "4h"},
		{"1h30m", 90 * time.Minute, "1h30m"},
		{"10h10s", 10*time.Hour + 10*time.Second, "10h0m10s"},
		{"1.5h", 90 * time.Minute, "1h30m"},
		{" 5d ", 120 * time.Hour, "5d"},
		{"24h", 24 * time.Hour, "1d"},
		{"1d12h", 36 * time.Hour, "1d12h"},
		{"10m0.5s", 10*time.Minute + 500*time.Millisecond, "10m0.5s"},
		{"106751d", 106751 * 24 * time.Hour, "106751d"},
	} {
		var got Duration
		if err := got.UnmarshalText([]byte(x.in)); err != nil || got != Duration(x.want) || got.String() != x.shown {
			t.Errorf("%q: got %d %q (%v), want %d %q", x.in, got, got, err, x.want, x.shown)
		}
	}
	for in, part := range map[string]string{
		"":                      "not a duration",
		"5":                     "not a duration",
		"d":                     "not a duration",
		"+5d":                   "not a duration",
		"5d3":                   "not a duration",
		"5d-3h":                 "not a duration",
		"1d2d":                  "not a duration",
		"1.5d":                  "not a duration",
		"5 minutes":             "not a duration",
		"-5m":                   "negative",
		"106752d":               "longer",
		"106751d24h":            "longer",
		"99999999999999999999d": "not a duration",
	} {
		got := Duration(7)
		if err := got.UnmarshalText([]byte(in)); err == nil || !strings.Contains(err.Error(), part) || got != 7 {
			t.Errorf("%q: got %d, %v; want an error with %q", in, got, err, part)
		}
	}
}

// A formatted value is parsed as the same value.
func FuzzValues(f *testing.F) {
	for _, n := range []int64{0, 1, 1000, 1024, 1e9, 1 << 30, int64(Day), int64(time.Hour) + 1, math.MaxInt64} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		if n < 0 {
			t.Skip("negative values cannot be written")
		}
		var s Size
		if err := s.UnmarshalText([]byte(Size(n).String())); err != nil || s != Size(n) {
			t.Errorf("size %d became %q, %d (%v)", n, Size(n), s, err)
		}
		var d Duration
		if err := d.UnmarshalText([]byte(Duration(n).String())); err != nil || d != Duration(n) {
			t.Errorf("duration %d became %q, %d (%v)", n, Duration(n), d, err)
		}
	})
}

func TestHostname(t *testing.T) {
	for name, part := range map[string]string{
		"mx.example.net":                  "",
		"MX.Example.NET":                  "",
		"localhost":                       "",
		"xn--bcher-kva.example":           "",
		"1.example":                       "",
		strings.Repeat("a", 63) + ".net":  "",
		strings.Repeat("a", 64) + ".net":  "63",
		strings.Repeat("a.", 127) + "net": "253",
		"":                                "empty",
		"a..b":                            "two dots",
		".a":                              "two dots",
		"a.":                              "dot",
		"-a.net":                          "hyphen",
		"a-.net":                          "hyphen",
		"a_b.net":                         "'_'",
		"a b.net":                         "' '",
		"bücher.example":                  "A-label",
		"192.0.2.1":                       "address",
		"mx.example.1":                    "address",
		"2001:db8::1":                     "':'",
	} {
		err := checkHostname(name)
		if part == "" && err != nil || part != "" && (err == nil || !strings.Contains(err.Error(), part)) {
			t.Errorf("%q: got %v, want %q", name, err, part)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want bool
	}{
		{"[::]:25", "[::]:25", true},
		{":25", "[::]:25", true},
		{"[::]:25", "0.0.0.0:25", true},
		{"[::]:25", "192.0.2.1:25", true},
		{"0.0.0.0:25", "192.0.2.1:25", true},
		{"0.0.0.0:25", "[2001:db8::1]:25", false},
		{"192.0.2.1:25", "192.0.2.2:25", false},
		{"192.0.2.1:25", "[::ffff:192.0.2.1]:25", true},
		{"[::]:25", "[::]:8025", false},
		{"[::]:0", "[::]:0", false},
	} {
		a, errA := parseListen(x.a)
		b, errB := parseListen(x.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if overlap(a, b) != x.want || overlap(b, a) != x.want {
			t.Errorf("%s, %s: want %v", x.a, x.b, x.want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"name", "hostname", "max_connections", "max_connections_per_prefix", "asn"}
	for name, want := range map[string]string{
		"nmae":                   "name", // two letters swapped
		"Name":                   "name",
		"hostnme":                "hostname",
		"host_name":              "hostname",
		"max-connections":        "max_connections",
		"maxconnections":         "max_connections",
		"as":                     "asn",
		"size":                   "",
		"colour":                 "",
		"":                       "",
		"max_messages":           "",
		strings.Repeat("x", 1e6): "",
	} {
		if got := nearest(name, words); got != want {
			t.Errorf("%.20q: got %q, want %q", name, got, want)
		}
	}
}
