package bundle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"anymx/edge/appliance/slot"
)

// Role is what a file of a bundle is for.
type Role string

// The roles, in the order in which the files are in a bundle and are written.
const (
	Verity Role = "verity" // hash tree of the root
	Root   Role = "root"   // root file system
	Kernel Role = "kernel" // unified kernel image: what the loader boots
)

// Manifest describes the content of a bundle.
type Manifest struct {
	Format       int       `json:"format"`  // 1
	Product      string    `json:"product"` // "anymx"
	Version      string    `json:"version"` // slot.ValidVersion
	Architecture string    `json:"architecture"`
	Built        time.Time `json:"built"`
	// RootHash is that of the hash tree, in lower-case hexadecimal digits. The UUIDs
	// of the partitions are its halves (slot.PartitionsOf).
	RootHash string `json:"root_hash"`
	Files    []File `json:"files"`
}

// File is one file of a bundle.
type File struct {
	Name   string `json:"name"`
	Role   Role   `json:"role"`
	Size   int64  `json:"size"`   // bytes in the bundle
	SHA256 string `json:"sha256"` // of these bytes, in lower-case hexadecimal digits
	// Zeros is the number of zero bytes that follow them, which the bundle omits. They belong to
	// the file: the hash tree of a root covers all of its partition.
	Zeros int64 `json:"zeros,omitempty"`
}

// Full returns the size of the file with its zeros, in bytes.
func (f File) Full() int64 { return f.Size + f.Zeros }

const (
	format       = 1
	product      = "anymx"
	architecture = "amd64"
)

// NewManifest creates a manifest of a version without its files.
func NewManifest(version, rootHash string, built time.Time) *Manifest {
	return &Manifest{
		Format: format, Product: product, Version: version, Architecture: architecture,
		Built: built.UTC().Truncate(time.Second), RootHash: rootHash,
	}
}

// ParseManifest parses a manifest strictly.
func ParseManifest(text []byte) (*Manifest, error) {
	// The format is checked first: a later one may have other fields.
	var which struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &which); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if which.Format != format {
		return nil, fmt.Errorf("manifest: format %d is not supported, only %d: update in smaller steps", which.Format, format)
	}
	var m Manifest
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// Validate returns everything that is wrong with a manifest.
func (m *Manifest) Validate() error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("manifest: "+format, args...)) }
	if m.Format != format {
		say("format %d is not %d", m.Format, format)
	}
	if m.Product != product {
		say("product %q is not anymx", m.Product)
	}
	if m.Architecture != architecture {
		say("architecture %q does not match this machine (%s)", m.Architecture, architecture)
	}
	if !slot.ValidVersion(m.Version) {
		say("%q is not a version", m.Version)
	}
	if m.Built.IsZero() {
		say("the build time is missing")
	}
	if _, _, ok := slot.PartitionsOf(m.RootHash); !ok {
		say("%q is not a root hash", m.RootHash)
	}
	want := []Role{Verity, Root, Kernel}
	if len(m.Files) != len(want) {
		say("it lists %d files instead of %d", len(m.Files), len(want))
		return errors.Join(wrong...)
	}
	for i, f := range m.Files {
		if f.Role != want[i] || f.Name != FileName(m.Version, want[i]) {
			say("file %d is %q for %q; it must be %q for %q", i+1, f.Name, f.Role, FileName(m.Version, want[i]), want[i])
		}
		if f.Size <= 0 || f.Zeros < 0 || f.Size > MaxFile || f.Zeros > MaxFile-f.Size {
			say("%s has %d bytes and %d zeros; it must have 1 to %d", f.Name, f.Size, f.Zeros, int64(MaxFile))
		}
		if b, err := hex.DecodeString(f.SHA256); err != nil || len(b) != 32 || f.SHA256 != strings.ToLower(f.SHA256) {
			say("%s: %q is not a SHA-256 sum", f.Name, f.SHA256)
		}
	}
	return errors.Join(wrong...)
}

// FileName returns the name of the file for a role in a version's bundle.
func FileName(version string, r Role) string {
	if r == Kernel {
		return "anymx_" + version + ".efi"
	}
	return "anymx_" + version + "." + string(r) + ".raw"
}

// Name returns the file name of the bundle itself.
func (m *Manifest) Name() string { return "anymx_" + m.Version + "_" + m.Architecture + ".update" }

// Size returns the sum of all files in bytes, without their zeros.
func (m *Manifest) Size() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// File returns the file for a role, or the zero File if there is none.
func (m *Manifest) File(r Role) File {
	if i := slices.IndexFunc(m.Files, func(f File) bool { return f.Role == r }); i >= 0 {
		return m.Files[i]
	}
	return File{}
}

// Encode returns the manifest as it is signed.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err == nil && len(text) >= MaxManifest {
		err = fmt.Errorf("manifest: %d bytes exceed the limit of %d", len(text), MaxManifest)
	}
	return append(text, '\n'), err
}
