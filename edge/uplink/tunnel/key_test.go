package tunnel

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// The first example of RFC 7748 6.1.
const (
	exampleKey    = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
	examplePublic = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
)

func TestKey(t *testing.T) {
	key, err := ParseKey([]byte(exampleKey))
	if err != nil {
		t.Fatal(err)
	}
	if got := key.PublicKey().String(); got != examplePublic {
		t.Errorf("public key %s, want %s", got, examplePublic)
	}
	if got := string(key.Text()); got != exampleKey {
		t.Errorf("the key is written as %s, want %s", got, exampleKey)
	}
	public, err := ParsePublicKey(examplePublic)
	if err != nil || public != key.PublicKey() {
		t.Errorf("parsed public key %s, %v", public, err)
	}
}

func TestKeyRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty":           "",
		"short":           exampleKey[1:],
		"long":            exampleKey + "A",
		"newline":         exampleKey + "\n",
		"not base64":      strings.Replace(exampleKey, "d", "-", 1),
		"no padding":      exampleKey[:43] + "A",
		"too much":        exampleKey[:42] + "==",
		"bits to spare":   exampleKey[:42] + "p=",
		"newline inside":  "\n" + exampleKey[1:],
		"a key of zeros":  strings.Repeat("A", 43) + "=",
		"looks like none": strings.Repeat("=", 44),
	} {
		_, err := ParseKey([]byte(text))
		if err == nil {
			t.Errorf("%s: %q is taken for a key", name, text)
			continue
		}
		if len(text) > 20 && strings.Contains(err.Error(), text[2:10]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestGeneratedKeys(t *testing.T) {
	a, b := GenerateKey(), GenerateKey()
	if a == b || a.IsZero() {
		t.Error("two generated keys are one")
	}
	parsed, err := ParseKey(a.Text())
	if err != nil || parsed != a {
		t.Errorf("a generated key is not read back: %v", err)
	}
}

// TestKeyIsHidden prints settings in every way that a program might.
func TestKeyIsHidden(t *testing.T) {
	key, err := ParseKey([]byte(exampleKey))
	if err != nil {
		t.Fatal(err)
	}
	s := Settings{PrivateKey: key, Peers: []Peer{{Preshared: key, PublicKey: key.PublicKey()}}}
	var out bytes.Buffer
	for _, verb := range []string{"v", "+v", "#v", "s", "q", "x", "X", "d", "b", "T", "c", "U"} {
		fmt.Fprintf(&out, "%"+verb+"\n", key)
		fmt.Fprintf(&out, "%"+verb+"\n", &key)
		fmt.Fprintf(&out, "%"+verb+"\n", s)
	}
	tunnel := &Tunnel{name: "wg-core", want: &s}
	fmt.Fprintf(&out, "%v %+v %#v %d\n", tunnel, tunnel, tunnel, tunnel)
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "key", key, "settings", s, "pointer", &s, "tunnel", tunnel)
	}
	if err := json.NewEncoder(&out).Encode(s); err != nil {
		t.Fatal(err)
	}

	if !strings.Contains(out.String(), hidden) {
		t.Error("nothing says that a key is hidden")
	}
	text := strings.ToLower(out.String())
	for _, form := range []string{exampleKey, hex.EncodeToString(key[:]), hex.EncodeToString(key[:8]), "119, 7", "119 7 109", "0x77, 0x7"} {
		if strings.Contains(text, strings.ToLower(form)) {
			t.Errorf("the key is printed: %s", form)
		}
	}
	if !strings.Contains(out.String(), examplePublic) {
		t.Error("the public key is hidden too")
	}
}
