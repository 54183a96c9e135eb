package tunnel

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// KeyText is the length of a key's base64 in bytes, and so the size of a file that holds one.
const KeyText = 44

// hidden is printed instead of a secret key.
const hidden = "(hidden)"

// Key is a secret WireGuard key, private or preshared. It prints as "(hidden)" in fmt, slog and
// encoding/json. The zero value means no key.
type Key [32]byte

// ParseKey reads the base64 of a key, as `wg genkey` and `wg genpsk` write it. The error shows none
// of it.
func ParseKey(text []byte) (Key, error) {
	raw, err := parse(text)
	if err != nil {
		return Key{}, err
	}
	if Key(raw).IsZero() {
		return Key{}, errors.New("the key is all zeros")
	}
	return Key(raw), nil
}

// GenerateKey makes a private key.
func GenerateKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails: crypto/rand
	return k.clamped()     // so that a printed key is the one that the device uses
}

// clamped is the private key as a device stores it: with the fixed bits set (RFC 7748 5). Not every
// program that makes keys does that, and the public half is the same.
func (k Key) clamped() Key {
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// PublicKey returns the public half of a private key.
func (k Key) PublicKey() PublicKey {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic(err) // any 32 bytes are a private key: RFC 7748 5
	}
	return PublicKey(private.PublicKey().Bytes())
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k == Key{} }

// Text is the key in base64, for files and for other programs' configs.
func (k Key) Text() []byte { return base64.StdEncoding.AppendEncode(nil, k[:]) }

func (Key) String() string { return hidden }

// Format prints "(hidden)" for every verb, including those that ignore Stringer.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// PublicKey identifies a peer, or this node. It prints as base64.
type PublicKey [32]byte

// ParsePublicKey reads the base64 of a public key, as `wg pubkey` writes it.
func ParsePublicKey(text string) (PublicKey, error) {
	raw, err := parse([]byte(text))
	return PublicKey(raw), err
}

func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText writes the key as String does.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// parse reads the base64 of 32 bytes. Its errors show none of the input.
func parse(text []byte) ([32]byte, error) {
	var raw [33]byte // one more than a key has: base64 rounds up
	if len(text) != KeyText {
		return [32]byte{}, fmt.Errorf("a key has %d base64 characters, this one has %d", KeyText, len(text))
	}
	n, err := base64.StdEncoding.Strict().Decode(raw[:], text)
	if err != nil || n != 32 {
		return [32]byte{}, errors.New("not the base64 of a 32-byte key")
	}
	return [32]byte(raw[:32]), nil
}

// wg is the key in wgctrl's type, which prints it in clear text.
func (k Key) wg() wgtypes.Key { return wgtypes.Key(k) }
