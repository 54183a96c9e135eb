package config

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A group has the values of [core] wherever the sections are in the file, but for what it sets
// itself and the addresses.
func TestCores(t *testing.T) {
	c, err := Load("testdata/good/cores.toml")
	if err != nil {
		t.Fatal(err)
	}
	archive, b2 := c.Core, c.Core
	archive.Addresses, archive.Protocol, archive.IdleTimeout = []string{"10.77.0.9:24"}, "lmtp", 0
	b2.Addresses = []string{"10.77.0.1:2525", "core.example.net:25"}
	if want := map[string]Core{"archive": archive, "b2": b2}; !reflect.DeepEqual(c.Cores, want) {
		t.Errorf("got  %+v\nwant %+v", c.Cores, want)
	}
	if c.Core.MaxConnections != 3 || b2.IdleTimeout != Duration(5*time.Minute) || b2.Protocol != "smtp" {
		t.Errorf("[core] is %+v", c.Core)
	}
	if got := c.Domains[0].Core + "," + c.Domains[1].Core; got != ",archive" {
		t.Errorf("domains go to %s", got)
	}
	if got := c.CoreNames(); !slices.Equal(got, []string{"archive", "b2"}) {
		t.Errorf("names %q", got)
	}
	if got := c.UnusedCores(); !slices.Equal(got, []string{"b2"}) {
		t.Errorf("unused %q", got)
	}
}

// A file without groups has none, not an empty map: configs are compared by reflection.
func TestNoCores(t *testing.T) {
	c, err := Parse("f", []byte(minimal(t)))
	if err != nil || c.Cores != nil || len(c.UnusedCores()) > 0 {
		t.Errorf("%v %v", c, err)
	}
}

// A group that no domain names is a warning at its line, and not a problem.
func TestWarnings(t *testing.T) {
	c, warnings, err := Check("testdata/good/cores.toml")
	if err != nil || c == nil || len(warnings) != 1 {
		t.Fatalf("%v %v", warnings, err)
	}
	want := `testdata/good/cores.toml:15:core.b2: no [[domain]] has core = "b2": no mail goes to this group`
	if got := warnings[0].Error(); got != want {
		t.Errorf("got %s", got)
	}
	for _, file := range []string{"testdata/good/minimal.toml", "testdata/good/design.toml"} {
		if _, warnings, err := Check(file); err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v %v", file, warnings, err)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.toml")
	text := strings.ReplaceAll(readFile(t, "testdata/good/cores.toml"), `"5m"`, `"5"`)
	if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, warnings, err := Check(bad); err == nil || c != nil || len(warnings) > 0 {
		t.Errorf("a bad file: %v %v %v", c, warnings, err)
	}
}

// With a tunnel, the addresses of each group must be inside of it.
func TestCoresInTunnel(t *testing.T) {
	text := strings.Replace(fence(t, "toml complete"), "\n[spool]\n", "\n[core.far]\naddresses = [\"192.0.2.99:25\"]\n\n[spool]\n", 1)
	_, err := Parse("f", []byte(text))
	if err == nil || !strings.Contains(err.Error(), `core.far.addresses[0]: "192.0.2.99:25" is in no allowed_ips`) {
		t.Errorf("got %v", err)
	}
}

// The example of the documentation is valid, and what it says of inheritance is true.
func TestDocCores(t *testing.T) {
	head, _, _ := strings.Cut(minimal(t), "[core]")
	c, err := Parse("f", []byte(head+fence(t, "toml cores")))
	if err != nil {
		t.Fatal(err)
	}
	if g := c.Cores["archive"]; g.IdleTimeout != Duration(5*time.Minute) || g.Protocol != "lmtp" || c.Domains[1].Core != "archive" {
		t.Errorf("%+v", c.Cores)
	}
}

// Groups that come and go are one key each, and need no restart; max_connections of one that stays
// does, and keeps its value until then.
func TestCoresChange(t *testing.T) {
	now, err := Load("testdata/good/cores.toml")
	if err != nil {
		t.Fatal(err)
	}
	next := *now
	next.Cores = maps.Clone(now.Cores)
	added := now.Cores["b2"]
	added.MaxConnections = 7
	next.Cores["added"] = added
	delete(next.Cores, "b2")
	archive := next.Cores["archive"]
	archive.MaxConnections, archive.Protocol = 9, "smtp"
	next.Cores["archive"] = archive

	if got, want := now.Changed(&next), []string{"core.added", "core.archive.protocol", "core.archive.max_connections", "core.b2"}; !slices.Equal(got, want) {
		t.Errorf("changed %q, want %q", got, want)
	}
	restart := []string{"core.archive.max_connections"}
	if got := now.NeedsRestart(&next); !slices.Equal(got, restart) {
		t.Errorf("needs restart %q", got)
	}
	inForce := now.Reloaded(&next)
	if g := inForce.Cores["archive"]; g.MaxConnections != 3 || g.Protocol != "smtp" {
		t.Errorf("in force %+v", g)
	}
	if len(inForce.Cores) != 2 || inForce.Cores["added"].MaxConnections != 7 {
		t.Errorf("in force %+v", inForce.Cores)
	}
	if next.Cores["archive"].MaxConnections != 9 || now.Cores["archive"].Protocol != "lmtp" {
		t.Error("what was compared is changed")
	}
	if got := inForce.NeedsRestart(&next); !slices.Equal(got, restart) {
		t.Errorf("a second reload: needs restart %q", got)
	}
	next.Cores = nil
	if inForce := now.Reloaded(&next); inForce.Cores != nil {
		t.Errorf("all removed: %+v", inForce.Cores)
	}
}

// A config that was made in code is checked as one from a file.
func TestCoresValidate(t *testing.T) {
	c, err := Load("testdata/good/cores.toml")
	if err != nil {
		t.Fatal(err)
	}
	c.Cores["No"] = c.Cores["b2"]
	b2 := c.Cores["b2"]
	b2.Addresses, b2.MaxConnections = nil, 0
	c.Cores["b2"] = b2
	c.Domains[0].Core = "gone"
	err = c.Validate()
	for _, want := range []string{"core.No: ", "core.b2.addresses: missing", "core.b2.max_connections: ", "domain[0].core: there is no section [core.gone]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
}
