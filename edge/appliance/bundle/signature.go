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

// Key is a public key whose signatures count.
type Key struct {
	ssh.PublicKey
	Comment string // as in the file: whose it is
}

// String is as ssh-keygen -l shows it: "SHA256:... (comment)".
func (k Key) String() string {
	s := ssh.FingerprintSHA256(k.PublicKey)
	if k.Comment != "" {
		s += " (" + k.Comment + ")"
	}
	return s
}

// Keys are the keys whose signatures a machine trusts.
type Keys []Key

const maxKeys = 64 << 10 // octets of a file of keys

// ReadKeys reads the keys in a file.
func ReadKeys(file string) (Keys, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("keys that updates are signed with: %w", err)
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return keys, nil
}

// ParseKeys reads OpenSSH public keys, one a line. Empty lines and those that
// begin with "#" are passed over. No key at all is an error.
func ParseKeys(text []byte) (Keys, error) {
	if len(text) > maxKeys {
		return nil, fmt.Errorf("it has more than %d octets", maxKeys)
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
			return nil, fmt.Errorf("line %d is no OpenSSH public key", n)
		case len(options) > 0:
			return nil, fmt.Errorf("line %d: options before a key mean nothing here", n)
		}
		if _, ok := key.(*ssh.Certificate); ok {
			return nil, fmt.Errorf("line %d: certificates are not taken", n)
		}
		keys = append(keys, Key{key, comment})
	}
	if len(keys) == 0 {
		return nil, errors.New("no key is in it, so that no update is trusted")
	}
	return keys, nil
}

// signature is what ssh-keygen -Y sign makes (OpenSSH, PROTOCOL.sshsig).
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

// parseSignature takes an armored signature apart.
func parseSignature(armored []byte) (*signature, error) {
	blob, err := dearmor(armored)
	if err != nil {
		return nil, err
	}
	rest, ok := bytes.CutPrefix(blob, []byte(signatureMagic))
	if !ok {
		return nil, errors.New("it is no SSH signature")
	}
	var wire struct {
		Version                                           uint32
		PublicKey, Namespace, Reserved, Hash, SignatureOf string
	}
	if err := ssh.Unmarshal(rest, &wire); err != nil {
		return nil, fmt.Errorf("it is no SSH signature: %w", err)
	}
	if wire.Version != 1 {
		return nil, fmt.Errorf("its version is %d, and only 1 is known", wire.Version)
	}
	key, err := ssh.ParsePublicKey([]byte(wire.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("its key: %w", err)
	}
	s := &signature{key: key, namespace: wire.Namespace, hash: wire.Hash, signature: new(ssh.Signature)}
	if err := ssh.Unmarshal([]byte(wire.SignatureOf), s.signature); err != nil {
		return nil, fmt.Errorf("it is no SSH signature: %w", err)
	}
	return s, nil
}

// dearmor takes the armor off. Its lines are longer than those of PEM, and
// nothing may stand around it.
func dearmor(armored []byte) ([]byte, error) {
	begin, end := "-----BEGIN "+armorType+"-----", "-----END "+armorType+"-----"
	text := strings.TrimSpace(string(armored))
	body, ok := strings.CutPrefix(text, begin)
	if !ok || !strings.HasSuffix(body, end) {
		if block, _ := pem.Decode(armored); block != nil {
			return nil, fmt.Errorf("it is a %s, and no SSH signature", strings.ToLower(block.Type))
		}
		return nil, errors.New("it is no SSH signature")
	}
	body = strings.TrimSuffix(body, end)
	blob, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		return nil, fmt.Errorf("it is no SSH signature: %w", err)
	}
	return blob, nil
}

// strong are the algorithms that count, by the type of key: RSA with SHA-1 does
// not.
func strong(key ssh.PublicKey, algorithm string) bool {
	if key.Type() == ssh.KeyAlgoRSA {
		return algorithm == ssh.KeyAlgoRSASHA256 || algorithm == ssh.KeyAlgoRSASHA512
	}
	return algorithm == key.Type() && key.Type() != "ssh-dss"
}

// Verify says which of the keys has signed message in a namespace. The error
// wraps ErrUntrusted, and tells people what they would need to know.
func (k Keys) Verify(namespace string, message, armored []byte) (Key, error) {
	s, err := parseSignature(armored)
	if err != nil {
		return Key{}, fmt.Errorf("%w: its signature can't be read: %w", ErrUntrusted, err)
	}
	i := slices.IndexFunc(k, func(one Key) bool { return bytes.Equal(one.Marshal(), s.key.Marshal()) })
	if i < 0 {
		return Key{}, fmt.Errorf("%w: it is signed by a key that this machine does not know: %s, namespace %q",
			ErrUntrusted, ssh.FingerprintSHA256(s.key), s.namespace)
	}
	key := k[i]
	switch {
	case s.namespace != namespace:
		return Key{}, fmt.Errorf("%w: key %s signed it for another purpose: namespace %q, and not %q", ErrUntrusted, key, s.namespace, namespace)
	case !strong(s.key, s.signature.Format):
		return Key{}, fmt.Errorf("%w: key %s signed it with %q, which is not taken", ErrUntrusted, key, s.signature.Format)
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
		return Key{}, fmt.Errorf("%w: key %s signed it with the hash %q, which is not taken", ErrUntrusted, key, s.hash)
	}
	signed := ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{namespace, "", s.hash, string(sum)})
	if err := key.PublicKey.Verify(append([]byte(signatureMagic), signed...), s.signature); err != nil {
		return Key{}, fmt.Errorf("%w: the signature of key %s is not one of this manifest: it was changed after it was signed", ErrUntrusted, key)
	}
	return key, nil
}
