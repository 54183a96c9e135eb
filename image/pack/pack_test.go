package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/appliance/bundle"
)

const rootHash = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"

// kernelImage returns a PE file with sections, like a unified kernel image.
func kernelImage(sections ...string) []byte { // name, content, ...
	le := binary.LittleEndian
	n := len(sections) / 2
	b := make([]byte, 64+4+20+40*n)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 64)
	copy(b[64:], "PE\x00\x00")
	le.PutUint16(b[68:], 0x8664)
	le.PutUint16(b[70:], uint16(n))
	for i := range n {
		h := b[88+40*i:]
		copy(h[:8], sections[2*i])
		content := sections[2*i+1]
		le.PutUint32(h[8:], uint32(len(content)))
		le.PutUint32(h[16:], uint32(len(content)+16))
		le.PutUint32(h[20:], uint32(len(b)))
		b = append(append(b, content...), make([]byte, 16)...)
	}
	return b
}

func put(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var goodKernel = kernelImage(".osrel", "ID=anymx\nIMAGE_VERSION=\"0.5.0\"\n", ".cmdline", "quiet roothash="+rootHash+" panic=10", ".linux", "kernel")

func TestBundle(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen here (package openssh-client)")
	}
	dir := t.TempDir()
	root := append(bytes.Repeat([]byte("root"), 700_000), make([]byte, 3<<20)...)
	args := []string{
		"bundle", "--version", "0.5.0", "--root", put(t, dir, "r", root), "--verity", put(t, dir, "v", []byte("tree")),
		"--uki", put(t, dir, "k", append(goodKernel, make([]byte, 8192)...)), "--key", dir + "/key", "--output", dir + "/out",
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/key").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1795000000")
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	if err := run(args); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(dir + "/out"); err != nil || !bytes.Equal(again, first) {
		t.Errorf("the same input gave another bundle (%v)", err)
	}
	keys, err := bundle.ReadKeys(dir + "/key.pub")
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(bytes.NewReader(first), keys)
	if err != nil {
		t.Fatal(err)
	}
	if m := b.Manifest; m.RootHash != rootHash || !m.Built.Equal(time.Unix(1795000000, 0)) {
		t.Errorf("%+v", m)
	}
	got := b.Manifest.File(bundle.Root)
	if got.Full() != int64(len(root)) || got.Size != 2_801_664 || b.Manifest.File(bundle.Kernel).Zeros != 0 || b.Manifest.File(bundle.Verity).Full() != 4 {
		t.Errorf("%+v", b.Manifest.Files)
	}
	for {
		_, body, err := b.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			t.Fatal(err)
		}
	}
	for want, change := range map[string][2]string{
		`of version "0.5.0", and not of "0.5.1"`: {"--version", "0.5.1"},
		"not a unified kernel image":             {"--uki", put(t, dir, "k2", kernelImage(".linux", "x"))},
		"names no version":                       {"--uki", put(t, dir, "k3", kernelImage(".osrel", "", ".cmdline", ""))},
		"nothing but zeros":                      {"--root", put(t, dir, "z", make([]byte, 3<<20))},
		"ssh-keygen":                             {"--key", dir + "/nokey"},
		"every option is needed":                 {"--key", ""},
	} {
		other := slices.Clone(args)
		other[slices.Index(other, change[0])+1] = change[1]
		if err := run(other); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestBill(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/bin", 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, dir+"/bin", "anymx-edge", program)
	put(t, dir+"/bin", "anymx-net", program)
	manifest := put(t, dir, "manifest", []byte(`{"manifest_version": 1, "config": {"name": "anymx", "distribution": "debian", "architecture": "x86-64", "release": "trixie"},
		"packages": [{"type": "deb", "name": "systemd", "version": "257.13-1~deb13u1", "architecture": "amd64"},
		{"type": "deb", "name": "libstdc++6", "version": "1:14.2.0+x", "architecture": "amd64"}]}`))
	t.Setenv("SOURCE_DATE_EPOCH", "1795000000")
	args := []string{"sbom", "--version", "0.5.0", "--manifest", manifest, "--programs", dir + "/bin", "--output", dir + "/out"}
	var texts [2][]byte
	for i := range texts {
		if err := run(args); err != nil {
			t.Fatal(err)
		}
		if texts[i], err = os.ReadFile(dir + "/out"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("the same input gave another bill")
	}
	var b bom
	if err := json.Unmarshal(texts[0], &b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.SpecVersion != "1.6" || b.Version != 1 || b.Metadata.Timestamp != "2026-11-18T11:06:40Z" ||
		!regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b.SerialNumber) {
		t.Errorf("%+v", b)
	}
	refs := map[string]component{b.Metadata.Component.Ref: b.Metadata.Component}
	for _, c := range b.Components {
		if _, twice := refs[c.Ref]; twice || c.Name == "" || c.Version == "" {
			t.Errorf("%+v", c)
		}
		refs[c.Ref] = c
	}
	for _, want := range []string{
		"pkg:deb/debian/systemd@257.13-1~deb13u1?arch=amd64&distro=trixie", "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0%2Bx?arch=amd64&distro=trixie", "anymx-edge@0.5.0",
	} {
		if _, ok := refs[want]; !ok {
			t.Errorf("no %s in it", want)
		}
	}
	crypto := slices.IndexFunc(b.Components, func(c component) bool { return c.Name == "golang.org/x/crypto" })
	if crypto < 0 || len(b.Components[crypto].Licenses) != 1 || b.Components[crypto].Licenses[0].License.ID != "BSD-3-Clause" {
		t.Errorf("golang.org/x/crypto is not in it, or without its licence: %d", crypto)
	}
	needed := 0
	for _, d := range b.Dependencies {
		for _, on := range append(d.DependsOn, d.Ref) {
			if _, ok := refs[on]; !ok {
				t.Errorf("%s depends on %s, which is not in it", d.Ref, on)
			}
		}
		needed += len(d.DependsOn)
	}
	if len(b.Dependencies) != 3 || needed < 8 {
		t.Errorf("%+v", b.Dependencies)
	}
	for want, change := range map[string][2]string{
		"it is not a list of packages": {"--manifest", put(t, dir, "m2", []byte("{}"))},
		"invalid character":            {"--manifest", put(t, dir, "m3", []byte("x"))},
		"no program is in it":          {"--programs", t.TempDir()},
		"m3: ":                         {"--programs", func() string { d := t.TempDir(); put(t, d, "m3", []byte("x")); return d }()},
	} {
		other := slices.Clone(args)
		other[slices.Index(other, change[0])+1] = change[1]
		if err := run(other); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestIdentify(t *testing.T) {
	for want, text := range map[string]string{
		"Apache-2.0":   "   Apache License\n   Version 2.0, January 2004",
		"MIT":          "Permission is hereby granted, free of\ncharge, to any person obtaining a copy of",
		"BSD-3-Clause": "Redistribution and use in source and binary forms ... may be used to endorse or promote products derived from",
		"BSD-2-Clause": "Redistribution and use in source and binary forms",
		"MPL-2.0":      "Mozilla Public License, version 2.0",
		"ISC":          "Permission to use, copy, modify, and distribute this software",
		"":             "all yours",
	} {
		if got := identify(text); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
	if got := cached("github.com/DataDog/zstd"); got != "github.com/!data!dog/zstd" {
		t.Error(got)
	}
}

func TestSums(t *testing.T) {
	dir := t.TempDir()
	var out strings.Builder
	if err := sums(&out, []string{put(t, dir, "a", []byte("a")), put(t, dir, "b", nil)}); err != nil {
		t.Fatal(err)
	}
	want := "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a\n" +
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b\n"
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
	if err := run([]string{"sums", dir + "/none"}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestUsage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	for want, args := range map[string][]string{
		"nothing is named to be packed": nil, "nothing that can be packed": {"cake"}, "is too much": {"sbom", "x"}, "every option": {"bundle"},
		"SOURCE_DATE_EPOCH": {"sbom", "--version", "1", "--manifest", "m", "--programs", "p", "--output", "o"},
	} {
		if err := run(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}
