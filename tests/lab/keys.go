package lab

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
)

// key is one end's WireGuard key.
type key struct{ private, public string }

// keys are those of the tunnel's ends.
type keys struct{ core, a, b key }

func newKeys() (keys, error) {
	var all keys
	for _, k := range []*key{&all.core, &all.a, &all.b} {
		pair, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return all, err
		}
		k.private = base64.StdEncoding.EncodeToString(pair.Bytes())
		k.public = base64.StdEncoding.EncodeToString(pair.PublicKey().Bytes())
	}
	return all, nil
}
