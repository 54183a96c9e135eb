package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A signature by the real ssh-keygen, with each type of key, is valid, and invalid once any of its
// fields changes.
func TestVerify(t *testing.T) {
	message := []byte("a message\n")
	for name, kind := range map[string][]string{
		"ed25519": {"ed25519"}, "rsa": {"rsa", "-b", "2048"}, "ecdsa": {"ecdsa", "-b", "384"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigner(t, kind...)
			keys := append(newSigner(t, "ed25519").keys(), s.keys()...)
			for _, hash := range []string{"sha256", "sha512"} {
				armored := s.sign("mail", message, "-O", "hashalg="+hash)
				if key, err := keys.Verify("mail", message, armored); err != nil || key.Comment != "releases of 2026" {
					t.Errorf("%s: %v, %v", hash, key, err)
				}
				if _, err := keys.Verify("mail", append(message, 'x'), armored); !errors.Is(err, ErrUntrusted) {
					t.Errorf("%s: another message: %v", hash, err)
				}
				if _, err := keys.Verify("male", message, armored); !errors.Is(err, ErrUntrusted) {
					t.Errorf("%s: another namespace: %v", hash, err)
				}
				if _, err := keys[:1].Verify("mail", message, armored); !errors.Is(err, ErrUntrusted) {
					t.Errorf("%s: another key: %v", hash, err)
				}
			}
		})
	}
}

// forge creates a signature with arbitrary fields.
func forge(key ssh.PublicKey, namespace, hash string, sig *ssh.Signature) []byte {
	blob := append([]byte(signatureMagic), ssh.Marshal(struct {
		Version                                           uint32
		PublicKey, Namespace, Reserved, Hash, SignatureOf string
	}{1, string(key.Marshal()), namespace, "", hash, string(ssh.Marshal(sig))})...)
	return []byte("-----BEGIN SSH SIGNATURE-----\n" + base64.StdEncoding.EncodeToString(blob) + "\n-----END SSH SIGNATURE-----\n")
}

// A hardware token signs the hash of the message together with its counter (PROTOCOL.u2f).
func TestVerifyToken(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	const application = "ssh:"
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct{ Type, Key, Application string }{ssh.KeyAlgoSKED25519, string(public), application}))
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("a message")
	sum := sha512.Sum512(message)
	signed := append([]byte(signatureMagic), ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{"mail", "", "sha512", string(sum[:])})...)
	app, inner := sha256.Sum256([]byte(application)), sha256.Sum256(signed)
	counter := []byte{1, 0, 0, 0, 7} // flags: user presence; then the counter
	blob := ed25519.Sign(private, bytes.Join([][]byte{app[:], counter, inner[:]}, nil))
	sig := &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: blob, Rest: counter}
	if _, err := (Keys{{key, ""}}).Verify("mail", message, forge(key, "mail", "sha512", sig)); err != nil {
		t.Error(err)
	}
}

// Weak algorithms are refused even if the signature is valid.
func TestVerifyWeak(t *testing.T) {
	s := newSigner(t, "rsa", "-b", "2048")
	private, err := ssh.ParsePrivateKey(readFile(t, s.file))
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("a message")
	sign := func(algorithm, hash string, sum []byte) []byte {
		signed := append([]byte(signatureMagic), ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{"mail", "", hash, string(sum)})...)
		sig, err := private.(ssh.AlgorithmSigner).SignWithAlgorithm(nil, signed, algorithm)
		if err != nil {
			t.Fatal(err)
		}
		return forge(private.PublicKey(), "mail", hash, sig)
	}
	sum := sha512.Sum512(message)
	for want, armored := range map[string][]byte{
		"":                                      sign(ssh.KeyAlgoRSASHA512, "sha512", sum[:]),
		`with "ssh-rsa", which is not accepted`: sign(ssh.KeyAlgoRSA, "sha512", sum[:]),
		`the hash "md5", which is not accepted`: sign(ssh.KeyAlgoRSASHA512, "md5", sum[:16]),
	} {
		_, err := s.keys().Verify("mail", message, armored)
		if want == "" && err == nil {
			continue
		}
		if !errors.Is(err, ErrUntrusted) || want == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestParseKeys(t *testing.T) {
	a, b := newSigner(t, "ed25519"), newSigner(t, "ecdsa")
	keys, err := ParseKeys([]byte("# ours\n\n" + string(a.public()) + "  \n" + string(b.public())))
	if err != nil || len(keys) != 2 || keys[1].Comment != "releases of 2026" || !strings.HasPrefix(keys[0].String(), "SHA256:") {
		t.Errorf("%v, %v", keys, err)
	}
	for want, text := range map[string]string{
		"it has no key":                        "# none\n",
		"line 2 is not an OpenSSH public key":  string(a.public()) + "ssh-ed25519 AAAA\n",
		"line 1: options before a key are not": "cert-authority " + string(a.public()),
		"line 1 is not an OpenSSH public key":  string(readFile(t, a.file)),
		"more than 65536 bytes":                strings.Repeat("#", 70_000),
	} {
		if _, err := ParseKeys([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := ReadKeys(t.TempDir() + "/none"); err == nil {
		t.Error("a file that is not there was read")
	}
}

func FuzzParseSignature(f *testing.F) {
	s := newSigner(f, "ed25519")
	f.Add(s.sign("mail", []byte("x")))
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"))
	keys := s.keys()
	f.Fuzz(func(t *testing.T, armored []byte) {
		if _, err := keys.Verify("mail", []byte("never signed"), armored); err == nil {
			t.Fatal("a signature of nothing was good")
		}
	})
}
