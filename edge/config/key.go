package config

import (
	"encoding/base64"
	"errors"
)

// PublicKey is the WireGuard public key of a peer. In the file it is the 44 characters of base64
// that `wg pubkey` prints. The zero value means that there is none.
type PublicKey [32]byte

// String renders the key in base64.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText renders the key in base64.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a key in base64. The error never repeats the text: text in the wrong
// place may be a private key.
func (k *PublicKey) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil || len(raw) != len(k) {
		return errors.New("is not a WireGuard public key: it must be the 44 characters of base64 that `wg pubkey` prints")
	}
	*k = PublicKey(raw)
	return nil
}
