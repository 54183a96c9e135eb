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

// The roles, in the order in which the files stand in a bundle and are written.
const (
	Verity Role = "verity" // hash tree of the root
	Root   Role = "root"   // root file system
	Kernel Role = "kernel" // unified kernel image: what the loader boots
)

// Manifest says what is in a bundle.
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
	Size   int64  `json:"size"`   // octets in the bundle
	SHA256 string `json:"sha256"` // of those, in lower-case hexadecimal digits
	// Zeros is how many octets of zeros follow them, which the bundle leaves out.
	// They belong to the file: the hash tree of a root covers all of its partition.
	Zeros int64 `json:"zeros,omitempty"`
}

// Full is how many octets the file has with its zeros.
func (f File) Full() int64 { return f.Size + f.Zeros }

const (
	format       = 1
	product      = "anymx"
	architecture = "amd64"
)

// NewManifest is a manifest of a version without its files.
func NewManifest(version, rootHash string, built time.Time) *Manifest {
	return &Manifest{
		Format: format, Product: product, Version: version, Architecture: architecture,
		Built: built.UTC().Truncate(time.Second), RootHash: rootHash,
	}
}

// ParseManifest reads a manifest, strictly.
func ParseManifest(text []byte) (*Manifest, error) {
	// What the format is comes first: a later one may have fields of its own.
	var which struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &which); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if which.Format != format {
		return nil, fmt.Errorf("manifest: its format is %d, and this program reads format %d: update in smaller steps", which.Format, format)
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

// Validate says what is wrong with a manifest, all at once.
func (m *Manifest) Validate() error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("manifest: "+format, args...)) }
	if m.Format != format {
		say("format %d is not %d", m.Format, format)
	}
	if m.Product != product {
		say("it is of %q, and not of anymx", m.Product)
	}
	if m.Architecture != architecture {
		say("it is for %q machines, and this one is %s", m.Architecture, architecture)
	}
	if !slot.ValidVersion(m.Version) {
		say("%q is no version", m.Version)
	}
	if m.Built.IsZero() {
		say("it does not say when it was built")
	}
	if _, _, ok := slot.PartitionsOf(m.RootHash); !ok {
		say("%q is no root hash", m.RootHash)
	}
	want := []Role{Verity, Root, Kernel}
	if len(m.Files) != len(want) {
		say("it lists %d files, and there are %d", len(m.Files), len(want))
		return errors.Join(wrong...)
	}
	for i, f := range m.Files {
		if f.Role != want[i] || f.Name != FileName(m.Version, want[i]) {
			say("file %d is %q for %q; it must be %q for %q", i+1, f.Name, f.Role, FileName(m.Version, want[i]), want[i])
		}
		if f.Size <= 0 || f.Zeros < 0 || f.Size > MaxFile || f.Zeros > MaxFile-f.Size {
			say("%s has %d octets and %d zeros; it must have 1 to %d", f.Name, f.Size, f.Zeros, int64(MaxFile))
		}
		if b, err := hex.DecodeString(f.SHA256); err != nil || len(b) != 32 || f.SHA256 != strings.ToLower(f.SHA256) {
			say("%s: %q is no SHA-256 sum", f.Name, f.SHA256)
		}
	}
	return errors.Join(wrong...)
}

// FileName is what the file for a role is called in the bundle of a version.
func FileName(version string, r Role) string {
	if r == Kernel {
		return "anymx_" + version + ".efi"
	}
	return "anymx_" + version + "." + string(r) + ".raw"
}

// Name is what the bundle itself is called.
func (m *Manifest) Name() string { return "anymx_" + m.Version + "_" + m.Architecture + ".update" }

// Size is the sum of all files, in octets, without their zeros.
func (m *Manifest) Size() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// File is the one for a role; the zero File if there is none.
func (m *Manifest) File(r Role) File {
	if i := slices.IndexFunc(m.Files, func(f File) bool { return f.Role == r }); i >= 0 {
		return m.Files[i]
	}
	return File{}
}

// Encode is the manifest as it is signed.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err == nil && len(text) >= MaxManifest {
		err = fmt.Errorf("manifest: %d octets are more than %d", len(text), MaxManifest)
	}
	return append(text, '\n'), err
}
