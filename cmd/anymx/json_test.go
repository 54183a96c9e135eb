package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[2J", "\u009b31m", "\u202e", "\x7f", "\U000e0001", "\xff", "\\u009b", "å<>&", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(map[string]string{s: s})
		if err != nil {
			t.Fatal(err)
		}
		got, err := encode(map[string]string{s: s}, "")
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(string(got), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q: %q can't be printed", s, got)
		}
		var a, b map[string]string
		if err := json.Unmarshal(want, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &b); err != nil {
			t.Fatalf("%q: %s is not JSON: %v", s, got, err)
		}
		for key, value := range a {
			if b[key] != value {
				t.Fatalf("%q became %q", value, b[key])
			}
		}
	})
}
