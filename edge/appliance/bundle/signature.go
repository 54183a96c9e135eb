package bundle

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Key is a trusted public key.
type Key struct {
	ssh.PublicKey
	Comment string // as in the file: its owner
}

// String formats the key like ssh-keygen -l: "SHA256:... (comment)".
func (k Key) String() string {
	s := ssh.FingerprintSHA256(k.PublicKey)
	if k.Comment != "" {
		s += " (" + k.Comment + ")"
	}
	return s
}

// Keys are the keys that a machine trusts.
type Keys []Key

const maxKeys = 64 << 10 // bytes of a file of keys

// ReadKeys reads the keys in a file.
func ReadKeys(file string) (Keys, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("trusted update keys: %w", err)
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// ParseKeys parses OpenSSH public keys, one per line. It ignores empty lines and lines that begin
// with "#". A file without a key is an error.
func ParseKeys(text []byte) (Keys, error) {
	if len(text) > maxKeys {
		return nil, fmt.Errorf("more than %d bytes", maxKeys)
	}
	var keys Keys
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		key, comment, options, _, err := ssh.ParseAuthorizedKey(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d is not an OpenSSH public key", n)
		case len(options) > 0:
			return nil, fmt.Errorf("line %d: options before a key are not supported", n)
		}
		if _, ok := key.(*ssh.Certificate); ok {
			return nil, fmt.Errorf("line %d: certificates are not supported", n)
		}
		keys = append(keys, Key{key, comment})
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key, so no update is trusted")
	}
	return keys, nil
}

// signature is the output of ssh-keygen -Y sign (OpenSSH, PROTOCOL.sshsig).
type signature struct {
	key       ssh.PublicKey
	namespace string
	hash      string
	signature *ssh.Signature
}

const (
	signatureMagic = "SSHSIG"
	armorType      = "SSH SIGNATURE"
)

// parseSignature parses an armored signature.
func parseSignature(armored []byte) (*signature, error) {
	blob, err := dearmor(armored)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(blob, []byte(signatureMagic))
	if !ok {
		return nil, errors.New("not an SSH signature")
	}
	var wire struct {
		Version                                           uint32
		PublicKey, Namespace, Reserved, Hash, SignatureOf string
	}
	if err := ssh.Unmarshal(rest, &wire); err != nil {
		return nil, fmt.Errorf("not an SSH signature: %w", err)
	}
	if wire.Version != 1 {
		return nil, fmt.Errorf("unknown version %d", wire.Version)
	}
	key, err := ssh.ParsePublicKey([]byte(wire.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	s := &signature{key: key, namespace: wire.Namespace, hash: wire.Hash, signature: new(ssh.Signature)}
	if err := ssh.Unmarshal([]byte(wire.SignatureOf), s.signature); err != nil {
		return nil, fmt.Errorf("not an SSH signature: %w", err)
	}
	return s, nil
}

// dearmor removes the armor. Its lines are longer than those of PEM, and nothing may surround it.
func dearmor(armored []byte) ([]byte, error) {
	begin, end := "-----BEGIN "+armorType+"-----", "-----END "+armorType+"-----"
	text := strings.TrimSpace(string(armored))
	body, ok := strings.CutPrefix(text, begin)
	if !ok || !strings.HasSuffix(body, end) {
		if block, _ := pem.Decode(armored); block != nil {
			return nil, fmt.Errorf("a %s, not an SSH signature", strings.ToLower(block.Type))
		}
		return nil, errors.New("not an SSH signature")
	}
	body = strings.TrimSuffix(body, end)
	blob, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		return nil, fmt.Errorf("not an SSH signature: %w", err)
	}
	return blob, nil
}

// strong reports whether an algorithm is accepted for the type of key: RSA with SHA-1 is not.
func strong(key ssh.PublicKey, algorithm string) bool {
	if key.Type() == ssh.KeyAlgoRSA {
		return algorithm == ssh.KeyAlgoRSASHA256 || algorithm == ssh.KeyAlgoRSASHA512
	}
	return algorithm == key.Type() && key.Type() != "ssh-dss"
}

// Verify returns which of the keys has signed message in a namespace. The error wraps ErrUntrusted
// and says what an operator needs to know.
func (k Keys) Verify(namespace string, message, armored []byte) (Key, error) {
	s, err := parseSignature(armored)
	if err != nil {
		return Key{}, fmt.Errorf("%w: unreadable signature: %w", ErrUntrusted, err)
	}
	i := slices.IndexFunc(k, func(one Key) bool { return bytes.Equal(one.Marshal(), s.key.Marshal()) })
	if i < 0 {
		return Key{}, fmt.Errorf("%w: signed by an unknown key: %s, namespace %q",
			ErrUntrusted, ssh.FingerprintSHA256(s.key), s.namespace)
	}
	key := k[i]
	switch {
	case s.namespace != namespace:
		return Key{}, fmt.Errorf("%w: key %s signed it for another purpose: namespace %q instead of %q", ErrUntrusted, key, s.namespace, namespace)
	case !strong(s.key, s.signature.Format):
		return Key{}, fmt.Errorf("%w: key %s signed it with %q, which is not accepted", ErrUntrusted, key, s.signature.Format)
	}
	var sum []byte
	switch s.hash {
	case "sha256":
		h := sha256.Sum256(message)
		sum = h[:]
	case "sha512":
		h := sha512.Sum512(message)
		sum = h[:]
	default:
		return Key{}, fmt.Errorf("%w: key %s signed it with the hash %q, which is not accepted", ErrUntrusted, key, s.hash)
	}
	signed := ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{namespace, "", s.hash, string(sum)})
	if err := key.PublicKey.Verify(append([]byte(signatureMagic), signed...), s.signature); err != nil {
		return Key{}, fmt.Errorf("%w: the signature of key %s does not match the manifest: it was changed after signing", ErrUntrusted, key)
	}
	return key, nil
}
