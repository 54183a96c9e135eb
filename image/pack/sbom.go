package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// sbomInput has the sources of a bill of materials.
type sbomInput struct {
	manifest string // file with the packages, from mkosi
	programs string // directory of our own programs
}

// The parts of CycloneDX 1.6 (ECMA-424) that the bill of materials uses.
type (
	bom struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		SpecVersion  string       `json:"specVersion"`
		SerialNumber string       `json:"serialNumber,omitempty"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Type     string    `json:"type"`
		Ref      string    `json:"bom-ref"`
		Name     string    `json:"name"`
		Version  string    `json:"version"`
		Hashes   []hash    `json:"hashes,omitempty"`
		Licenses []license `json:"licenses,omitempty"`
		PURL     string    `json:"purl,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	license struct {
		License struct {
			ID string `json:"id"` // SPDX
		} `json:"license"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// write creates the bill of materials.
func (in *sbomInput) write(version string, built time.Time, output string) error {
	text, err := os.ReadFile(in.manifest)
	if err != nil {
		return err
	}
	packages, err := packagesOf(text)
	if err != nil {
		return fmt.Errorf("%s: %w", in.manifest, err)
	}
	programs, modules, needs, err := programsOf(in.programs, version)
	if err != nil {
		return err
	}
	b := assemble(version, built, packages, programs, modules, needs)
	if text, err = b.encode(); err != nil {
		return err
	}
	return os.WriteFile(output, text, 0o644)
}

// assemble combines the components. needs has the modules of each program.
func assemble(version string, built time.Time, packages, programs, modules []component, needs map[string][]string) *bom {
	b := &bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: metadata{
			Timestamp: built.Format(time.RFC3339),
			Component: component{Type: "operating-system", Ref: "anymx@" + version, Name: "anymx", Version: version},
		},
	}
	b.Components = slices.Concat(programs, modules, packages)
	image := dependency{Ref: b.Metadata.Component.Ref}
	for _, c := range slices.Concat(programs, packages) {
		image.DependsOn = append(image.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{image}
	for _, p := range programs {
		b.Dependencies = append(b.Dependencies, dependency{p.Ref, needs[p.Ref]})
	}
	return b
}

// encode derives the bill's serial number from its content, so that it is the same for the same
// image.
func (b *bom) encode() ([]byte, error) {
	b.SerialNumber = ""
	text, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	u := sha256.Sum256(text)
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80 // RFC 9562 5.8
	b.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err = enc.Encode(b)
	return out.Bytes(), err
}

// packagesOf parses mkosi's list of packages (ManifestFormat=json).
func packagesOf(text []byte) ([]component, error) {
	var m struct {
		Version int `json:"manifest_version"`
		Config  struct {
			Distribution string `json:"distribution"`
			Release      string `json:"release"`
		} `json:"config"`
		Packages []struct{ Type, Name, Version, Architecture string }
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	if m.Version != 1 || len(m.Packages) == 0 {
		return nil, fmt.Errorf("it is not a list of packages (format %d, %d packages)", m.Version, len(m.Packages))
	}
	var list []component
	for _, p := range m.Packages {
		purl := fmt.Sprintf("pkg:%s/%s/%s@%s?arch=%s&distro=%s", p.Type, m.Config.Distribution, escape(p.Name), escape(p.Version), escape(p.Architecture), escape(m.Config.Release))
		list = append(list, component{Type: "library", Ref: purl, Name: p.Name, Version: p.Version, PURL: purl})
	}
	return inOrder(list), nil
}

// programsOf reads our programs and the modules that they were built from.
func programsOf(dir, version string) (programs, modules []component, needs map[string][]string, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	needs = map[string][]string{}
	for _, f := range files {
		file := filepath.Join(dir, f.Name())
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		sum, _, err := sumOf(file, -1)
		if err != nil {
			return nil, nil, nil, err
		}
		p := component{Type: "application", Ref: f.Name() + "@" + version, Name: f.Name(), Version: version, Hashes: []hash{{"SHA-256", sum}}}
		programs = append(programs, p)
		for _, m := range modulesOf(info) {
			modules = append(modules, m)
			needs[p.Ref] = append(needs[p.Ref], m.Ref)
		}
		slices.Sort(needs[p.Ref])
	}
	if len(programs) == 0 {
		return nil, nil, nil, fmt.Errorf("%s: no program is in it", dir)
	}
	return inOrder(programs), inOrder(modules), needs, nil
}

// modulesOf returns the modules in a program, including the standard library.
func modulesOf(info *buildinfo.BuildInfo) []component {
	std := strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go")
	list := []component{goModule("stdlib", std)}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = &debug.Module{Path: m.Replace.Path, Version: m.Replace.Version}
		}
		list = append(list, goModule(m.Path, m.Version))
	}
	return list
}

func goModule(path, version string) component {
	parts := strings.Split(strings.ToLower(path), "/")
	for i := range parts {
		parts[i] = escape(parts[i])
	}
	purl := "pkg:golang/" + strings.Join(parts, "/") + "@" + escape(version)
	c := component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
	if id := licenseOf(path, version); id != "" {
		l := license{}
		l.License.ID = id
		c.Licenses = []license{l}
	}
	return c
}

// inOrder sorts components and removes duplicates, because everything in a bill is unique.
func inOrder(list []component) []component {
	slices.SortFunc(list, func(a, b component) int { return cmp.Compare(a.Ref, b.Ref) })
	return slices.CompactFunc(list, func(a, b component) bool { return a.Ref == b.Ref })
}

// escape encodes a part of a package URL (ECMA-427): every character except letters, digits and
// ".-_~:" is percent-encoded.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-_~:", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
