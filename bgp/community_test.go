package bgp

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestParseCommunity(t *testing.T) {
	for text, want := range map[string]Community{
		"0:0":         0,
		"64500:100":   64500<<16 | 100,
		"65535:0":     GracefulShutdown,
		"65535:65535": 1<<32 - 1,
	} {
		got, err := ParseCommunity(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "1:", ":1", "1:2:3", "65536:0", "0:65536", "01:2", "+1:2", "-1:2", "1:2 ", "0x1:2", "1:٢", "no-export"} {
		if got, err := ParseCommunity(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

func TestParseLargeCommunity(t *testing.T) {
	for text, want := range map[string]LargeCommunity{
		"0:0:0":                     {},
		"64500:1:2":                 {64500, 1, 2},
		"4294967295:4294967295:100": {1<<32 - 1, 1<<32 - 1, 100},
	} {
		got, err := ParseLargeCommunity(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1:2", "1:2:3:4", "1::3", "4294967296:0:0", "1:2:03"} {
		if got, err := ParseLargeCommunity(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

func TestParseCommunities(t *testing.T) {
	communities, large, err := ParseCommunities([]string{"64500:1", "64500:1:2", "64500:3"})
	if err != nil || !slices.Equal(communities, []Community{64500<<16 | 1, 64500<<16 | 3}) || !slices.Equal(large, []LargeCommunity{{64500, 1, 2}}) {
		t.Errorf("%v %v %v", communities, large, err)
	}
	for _, bad := range []string{"64500", "1:2:3:4", "a:b", "a:b:c"} {
		if _, _, err := ParseCommunities([]string{"64500:1", bad}); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// What is parsed prints as what it was parsed from: no community has two forms.
func FuzzCommunity(f *testing.F) {
	for _, seed := range []string{"64500:100", "64500:1:2", "65535:0", "0:00", "1:2:3:4", ":", "4294967296:0:0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseCommunity(text); err == nil && c.String() != text {
			t.Errorf("%q is %s", text, c)
		}
		if c, err := ParseLargeCommunity(text); err == nil && c.String() != text {
			t.Errorf("%q is %s", text, c)
		}
		_, _, _ = ParseCommunities([]string{text})
	})
}

func TestPasswordIsNeverPrinted(t *testing.T) {
	const secret = "s3cret"
	p := Peer{Password: secret}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("peer", "peer", p, "password", p.Password, "pointer", &p)
	slog.New(slog.NewTextHandler(&log, nil)).Info("peer", "peer", p, "password", p.Password)
	asJSON, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(asJSON), p.Password.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%T %[1]v"} {
		texts = append(texts, fmt.Sprintf(verb, p), fmt.Sprintf(verb, p.Password), fmt.Sprintf(verb, &p))
	}
	for _, text := range texts {
		for _, spelling := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("% x", secret)} {
			if strings.Contains(text, spelling) {
				t.Errorf("the password is in %s", text)
			}
		}
	}
}
