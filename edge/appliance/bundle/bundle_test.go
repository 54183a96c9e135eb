package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const rootHash = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"

// signer is a key that the real ssh-keygen created and signs with.
type signer struct {
	t    testing.TB
	file string
}

func newSigner(t testing.TB, kind ...string) *signer {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen here (package openssh-client)")
	}
	s := &signer{t, filepath.Join(t.TempDir(), "key")}
	s.run(append([]string{"-q", "-N", "", "-C", "releases of 2026", "-f", s.file, "-t"}, kind...)...)
	return s
}

func (s *signer) run(args ...string) {
	s.t.Helper()
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		s.t.Fatalf("ssh-keygen %v: %v\n%s", args, err, out)
	}
}

func (s *signer) public() []byte {
	s.t.Helper()
	text, err := os.ReadFile(s.file + ".pub")
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

func (s *signer) keys() Keys {
	s.t.Helper()
	keys, err := ParseKeys(s.public())
	if err != nil {
		s.t.Fatal(err)
	}
	return keys
}

func (s *signer) sign(namespace string, message []byte, options ...string) []byte {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "message")
	if err := os.WriteFile(file, message, 0o600); err != nil {
		s.t.Fatal(err)
	}
	args := append([]string{"-q", "-Y", "sign", "-n", namespace, "-f", s.file}, options...)
	s.run(append(args, file)...)
	armored, err := os.ReadFile(file + ".sig")
	if err != nil {
		s.t.Fatal(err)
	}
	return armored
}

// contents has the files of a bundle, by role.
var contents = map[Role][]byte{
	Verity: bytes.Repeat([]byte("tree"), 300), Root: bytes.Repeat([]byte("root"), 20_000), Kernel: []byte("kernel"),
}

func manifestOf(t testing.TB) *Manifest {
	t.Helper()
	m := NewManifest("0.5.0", rootHash, time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC))
	for _, r := range []Role{Verity, Root, Kernel} {
		sum := sha256.Sum256(contents[r])
		m.Files = append(m.Files, File{Name: FileName("0.5.0", r), Role: r, Size: int64(len(contents[r])), SHA256: hex.EncodeToString(sum[:])})
	}
	return m
}

func encode(t testing.TB, m *Manifest) []byte {
	t.Helper()
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func open(f File) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(contents[f.Role])), nil }

// good returns a bundle signed by s.
func good(t testing.TB, s *signer) []byte {
	t.Helper()
	text := encode(t, manifestOf(t))
	var b bytes.Buffer
	if err := Write(&b, text, s.sign(Namespace, text), open); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll reads a bundle to its end.
func readAll(r io.Reader, keys Keys) (map[Role][]byte, error) {
	b, err := Open(r, keys)
	if err != nil {
		return nil, err
	}
	got := map[Role][]byte{}
	for {
		f, body, err := b.Next()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return nil, err
		}
		if got[f.Role], err = io.ReadAll(body); err != nil {
			return nil, err
		}
	}
}

func TestBundle(t *testing.T) {
	s := newSigner(t, "ed25519")
	whole := good(t, s)
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(whole), "byte by byte": iotest.OneByteReader(bytes.NewReader(whole)),
		"with its end":         iotest.DataErrReader(bytes.NewReader(whole)),
		"in records of 10 KiB": bytes.NewReader(append(bytes.Clone(whole), make([]byte, 10240-len(whole)%10240)...)),
	} {
		got, err := readAll(r, s.keys())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for role, want := range contents {
			if !bytes.Equal(got[role], want) {
				t.Errorf("%s: %s differs", name, role)
			}
		}
	}
	if again := good(t, s); !bytes.Equal(again, whole) { // Ed25519 signatures use no random number
		t.Error("the same input gave another bundle")
	}
	b, err := Open(bytes.NewReader(whole), s.keys())
	if err != nil || b.Key.Comment != "releases of 2026" || b.Manifest.Name() != "anymx_0.5.0_amd64.update" {
		t.Errorf("%+v, %v", b, err)
	}
	// Unread files are checked as well.
	for range contents {
		if _, _, err := b.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, _, err := b.Next(); err != io.EOF {
			t.Error(err)
		}
	}
}

// GNU tar can read what Write writes, and Open what GNU tar writes.
func TestBundleAndTar(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("no tar here")
	}
	s, dir := newSigner(t, "ed25519"), t.TempDir()
	if err := os.WriteFile(dir+"/b", good(t, s), 0o600); err != nil {
		t.Fatal(err)
	}
	names := []string{manifestName, signatureName, "anymx_0.5.0.verity.raw", "anymx_0.5.0.root.raw", "anymx_0.5.0.efi"}
	out, err := exec.Command("tar", "-C", dir, "-xvf", dir+"/b").CombinedOutput()
	if err != nil || strings.Join(strings.Fields(string(out)), " ") != strings.Join(names, " ") {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("tar", append([]string{"-C", dir, "--format=gnu", "-cf", dir + "/again"}, names...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	again, err := os.ReadFile(dir + "/again")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(bytes.NewReader(again), s.keys()); err != nil {
		t.Error(err)
	}
}

// If any byte is changed, or the bundle ends early, a bundle that can still be read to its end has
// the signed content.
func TestEveryByteCounts(t *testing.T) {
	s := newSigner(t, "ed25519")
	whole, keys := good(t, s), s.keys()
	ignored := 0
	for i := 0; i < len(whole); i += 1 + i/40 {
		broken := bytes.Clone(whole)
		broken[i] ^= 0x55
		if got, err := readAll(bytes.NewReader(broken), keys); err == nil {
			ignored++
			for role, want := range contents {
				if !bytes.Equal(got[role], want) {
					t.Fatalf("byte %d: %s was taken changed", i, role)
				}
			}
		}
		if _, err := readAll(bytes.NewReader(whole[:i]), keys); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
	if ignored > 0 { // a checksum covers all bytes of a header
		t.Errorf("%d changed bytes were not seen", ignored)
	}
}

func TestForgedBundles(t *testing.T) {
	s, other := newSigner(t, "ed25519"), newSigner(t, "ed25519")
	m := manifestOf(t)
	text := encode(t, m)
	later := encode(t, func() *Manifest { m := manifestOf(t); m.Built = m.Built.Add(time.Hour); return m }())
	raw := func(members ...any) []byte { // name, content, name, content
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i := 0; i < len(members); i += 2 {
			h := &tar.Header{Name: members[i].(string), Typeflag: tar.TypeReg}
			content, ok := members[i+1].([]byte)
			if !ok {
				h = members[i+1].(*tar.Header)
				h.Name = members[i].(string)
			}
			if ok {
				h.Size = int64(len(content))
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	sig := s.sign(Namespace, text)
	files := []any{"anymx_0.5.0.verity.raw", contents[Verity], "anymx_0.5.0.root.raw", contents[Root], "anymx_0.5.0.efi", contents[Kernel]}
	with := func(manifest, sig []byte, files ...any) []byte {
		return raw(append([]any{manifestName, manifest, signatureName, sig}, files...)...)
	}
	fingerprint := strings.Fields(other.keys()[0].String())[0]
	for name, test := range map[string]struct {
		bundle []byte
		is     error
		want   string
	}{
		"nothing":                {nil, ErrDamaged, "it is truncated"},
		"no tar":                 {bytes.Repeat([]byte("x"), 4096), ErrDamaged, "not a tar archive"},
		"an image":               {make([]byte, 4096), ErrDamaged, "manifest.json is missing"},
		"unknown key":            {with(text, other.sign(Namespace, text), files...), ErrUntrusted, "signed by an unknown key: " + fingerprint + `, namespace "anymx-update"`},
		"another namespace":      {with(text, s.sign("git", text), files...), ErrUntrusted, `(releases of 2026) signed it for another purpose: namespace "git" instead of "anymx-update"`},
		"another manifest":       {with(later, sig, files...), ErrUntrusted, "does not match the manifest"},
		"a key as signature":     {with(text, readFile(t, s.file), files...), ErrUntrusted, "a openssh private key, not an SSH signature"},
		"junk as signature":      {with(text, []byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"), files...), ErrUntrusted, "not an SSH signature"},
		"signature first":        {raw(signatureName, sig, manifestName, text), ErrDamaged, "manifest.json is missing"},
		"large manifest":         {raw(manifestName, make([]byte, MaxManifest+1)), ErrDamaged, "it must have 1 to 65536"},
		"empty signature":        {with(text, nil), ErrDamaged, "it must have 1 to 16384"},
		"missing file":           {with(text, sig, files[:4]...), ErrDamaged, ", found the end"},
		"order":                  {with(text, sig, files[2], files[3], files[0], files[1]), ErrDamaged, "expected anymx_0.5.0.verity.raw with 1200 bytes, found anymx_0.5.0.root.raw with 80000"},
		"one more":               {with(text, sig, append(files, "more", []byte("x"))...), ErrDamaged, "non-zero bytes in the padding"},
		"shorter":                {with(text, sig, files[0], contents[Verity][1:]), ErrDamaged, "with 1199"},
		"other content":          {with(text, sig, files[0], bytes.Repeat([]byte("TREE"), 300)), ErrDamaged, "as in the manifest"},
		"link":                   {raw(manifestName, &tar.Header{Typeflag: tar.TypeSymlink, Linkname: "x"}), ErrDamaged, "not a plain file"},
		"extended header":        {raw("é", []byte("x")), ErrDamaged, "not a plain file"},
		"path":                   {raw("../"+manifestName, text), ErrDamaged, "is not allowed"},
		"trailing garbage":       {append(with(text, sig, files...), 'x'), ErrDamaged, "data follows its end"},
		"trailing zeros, no end": {append(with(text, sig, files...), make([]byte, maxTrailer+1)...), ErrDamaged, "data follows its end"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readAll(bytes.NewReader(test.bundle), s.keys())
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\nwant %q", err, test.want)
			}
		})
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A read error is returned as it is, because it says nothing about the bundle.
func TestReadFails(t *testing.T) {
	s := newSigner(t, "ed25519")
	whole, keys, failed := good(t, s), s.keys(), errors.New("connection reset")
	for _, at := range []int{0, 600, 2000, 5000, len(whole) - 100} {
		r := io.MultiReader(bytes.NewReader(whole[:at]), iotest.ErrReader(failed))
		if _, err := readAll(r, keys); !errors.Is(err, failed) || errors.Is(err, ErrDamaged) && at != len(whole)-100 {
			t.Errorf("at %d: %v", at, err)
		}
	}
}

func TestManifest(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*Manifest)
		want  string
	}{
		"product":      {func(m *Manifest) { m.Product = "other" }, `product "other" is not anymx`},
		"architecture": {func(m *Manifest) { m.Architecture = "arm64" }, `architecture "arm64" does not match this machine`},
		"version":      {func(m *Manifest) { m.Version = "../1" }, `"../1" is not a version`},
		"built":        {func(m *Manifest) { m.Built = time.Time{} }, "the build time is missing"},
		"root hash":    {func(m *Manifest) { m.RootHash = "x" }, `"x" is not a root hash`},
		"a file less":  {func(m *Manifest) { m.Files = m.Files[:2] }, "it lists 2 files"},
		"order":        {func(m *Manifest) { m.Files[0], m.Files[1] = m.Files[1], m.Files[0] }, `file 1 is "anymx_0.5.0.root.raw" for "root"`},
		"name":         {func(m *Manifest) { m.Files[2].Name = "x" }, `it must be "anymx_0.5.0.efi" for "kernel"`},
		"size":         {func(m *Manifest) { m.Files[2].Size = 0 }, "it must have 1 to"},
		"zeros":        {func(m *Manifest) { m.Files[1].Zeros = MaxFile }, "it must have 1 to"},
		"sum":          {func(m *Manifest) { m.Files[2].SHA256 = "AB" }, `"AB" is not a SHA-256 sum`},
	} {
		m := manifestOf(t)
		test.spoil(m)
		if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	text := string(encode(t, manifestOf(t)))
	for want, text := range map[string]string{
		"unknown field":                    strings.Replace(text, `"product"`, `"extra": 1, "product"`, 1),
		"format 2 is not supported":        strings.Replace(text, `"format": 1`, `"format": 2, "extra": 1`, 1),
		"after top-level value":            text + "{}",
		"unexpected end of JSON":           text[:20],
		"cannot unmarshal string into":     strings.Replace(text, `"format": 1`, `"format": "1"`, 1),
		"cannot unmarshal array into Go v": "[]",
	} {
		if _, err := ParseManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if got, err := ParseManifest([]byte(text)); err != nil || got.File(Root).Size != 80_000 || got.Size() != 81_206 || got.File("x") != (File{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	text := encode(t, manifestOf(t))
	for want, open := range map[string]func(File) (io.ReadCloser, error){
		"no such":    func(File) (io.ReadCloser, error) { return nil, errors.New("no such file") },
		"has 1 byte": func(File) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil },
	} {
		if err := Write(io.Discard, text, nil, open); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := Write(io.Discard, []byte("{}"), nil, open); err == nil {
		t.Error("a bad manifest was written")
	}
}

func FuzzOpen(f *testing.F) {
	s := newSigner(f, "ed25519")
	whole, keys := good(f, s), s.keys()
	f.Add(whole)
	f.Add(whole[:3000])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readAll(bytes.NewReader(data), keys)
		if err != nil {
			return
		}
		for role, want := range contents {
			if !bytes.Equal(got[role], want) {
				t.Fatal("something that was not signed was taken")
			}
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add(encode(f, manifestOf(f)))
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func Example() {
	fmt.Println(NewManifest("0.5.0", rootHash, time.Unix(0, 0)).Name())
	// Output: anymx_0.5.0_amd64.update
}
