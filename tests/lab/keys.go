package lab

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// key is the WireGuard key of one end.
type key struct{ Private, Public string }

// keys are the keys of all tunnel ends.
type keys struct{ Core, A, B key }

// newKeys reads the keys from a file, or creates them and stores them there; "": they are not
// stored.
func newKeys(file string) (keys, error) {
	var all keys
	if file != "" {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &all)
		}
		if !errors.Is(err, os.ErrNotExist) {
			if err != nil {
				err = fmt.Errorf("keys in %s: %w", file, err)
			}
			return all, err
		}
	}
	for _, k := range []*key{&all.Core, &all.A, &all.B} {
		pair, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return all, err
		}
		k.Private = base64.StdEncoding.EncodeToString(pair.Bytes())
		k.Public = base64.StdEncoding.EncodeToString(pair.PublicKey().Bytes())
	}
	if file == "" {
		return all, nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		return all, err
	}
	return all, os.WriteFile(file, text, 0o600)
}
