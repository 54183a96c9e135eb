package provision

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestProvisionFromESP(t *testing.T) {
	n := newNode(t)
	n.esp(goodFiles())
	r := n.run()
	if !r.OK() || !r.InForce || r.Source != "ESP" {
		t.Fatalf("%+v", r)
	}
	n.placed(goodFiles())
	if n.read("/run/anymx-config/source") != "ESP\n" {
		t.Error(n.read("/run/anymx-config/source"))
	}
	n.absent("/var/lib/anymx-machine/config")
	if root() && fmt.Sprint(n.groups) != "map[anymx:true anymx-edge:true anymx-net:true systemd-network:true]" {
		t.Errorf("groups %v", n.groups)
	}

	// The second run changes nothing, not even the files.
	before, err := os.Stat(n.root + "/run/anymx-config/anymx.toml")
	if err != nil {
		t.Fatal(err)
	}
	if r = n.run(); !r.OK() || r.Changed.Any() {
		t.Errorf("%+v", r.Changed)
	}
	after, err := os.Stat(n.root + "/run/anymx-config/anymx.toml")
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was replaced for nothing: %v", err)
	}
	n.placed(goodFiles())

	// A change is reported.
	changed := with(goodFiles(), "recipients.example.net", "only\n", "network/10-uplink.network", "-", "network/30-x.network", "[Match]\nName=x\n",
		"credentials/bgp.router1", "-", "anymx.toml", edit(t, "credential:bgp.router1", ""))
	n.esp(changed)
	r = n.run()
	want := "{[anymx.toml recipients.example.net] [credentials/bgp.router1] [network/30-x.network network/10-uplink.network]}"
	if got := fmt.Sprint(r.Changed); !r.OK() || got != want {
		t.Errorf("changed %s, want %s", got, want)
	}
	n.absent("/run/systemd/network/10-uplink.network", "/run/credstore/bgp.router1")
	if n.read("/run/anymx-config/recipients.example.net") != "only\n" {
		t.Error("the old list is in force")
	}
	last, err := Last(n.root)
	if err != nil || last.Source != "ESP" || fmt.Sprint(last.Changed) != want {
		t.Errorf("%+v, %v", last, err)
	}
}

// A file makes anymx-bgp start if the config announces prefixes.
func TestProvisionTellsTheSpeaker(t *testing.T) {
	n := newNode(t)
	n.esp(goodFiles())
	n.run()
	if got := n.read("/run/anymx-config/wants-bgp"); got != "" {
		t.Errorf("%q", got)
	}
	n.esp(map[string]string{"anymx.toml": "[node]\nname = \"a\"\nhostname = \"mx.example.net\"\n[core]\naddresses = [\"10.77.0.1:25\"]\n"})
	if r := n.run(); !r.OK() {
		t.Fatal(r.Text())
	}
	n.absent("/run/anymx-config/wants-bgp")
}

// An invalid bundle leaves no config at boot; later, the config in force stays.
func TestProvisionBad(t *testing.T) {
	n := newNode(t)
	bad := with(goodFiles(), "anymx.toml", edit(t, "asn = 64512", "asn = \"x\""), "tls/key.pem", "-", "network/99-all.network", "[Network]\n")
	n.esp(bad)
	r := n.run()
	n.absent("/run/systemd/network/99-all.network")
	if r.OK() || r.InForce || r.Source != "" || r.Taken != "ESP" || len(r.Problems) != 2 {
		t.Fatalf("%+v", r)
	}
	n.absent("/run/anymx-config/anymx.toml", "/run/anymx-config/shield.key", "/run/credstore/wg.key")
	for _, want := range []string{"this node has no valid config", "anymx.toml:30:bgp.asn: must be a whole number", "What to do:"} {
		if !strings.Contains(n.read("/run/anymx-config/problem"), want) {
			t.Errorf("%q is not in\n%s", want, n.read("/run/anymx-config/problem"))
		}
	}
	if got := n.read("/run/systemd/network/10-uplink.network"); got != goodFiles()["network/10-uplink.network"] {
		t.Errorf("the network was not set up: %q", got)
	}

	// After a correction, it is installed and the problem is gone.
	n.esp(goodFiles())
	if r = n.run(); !r.OK() {
		t.Fatal(r.Text())
	}
	n.placed(goodFiles())

	// Invalid again: the config in force stays unchanged to the last byte.
	n.esp(with(bad, "network/10-uplink.network", "[Match]\nName=other\n", "credentials/wg.key", "x"))
	r = n.run()
	if r.OK() || !r.InForce || r.Source != "ESP" || r.Changed.Any() || !strings.Contains(r.Text(), "The one from the ESP stays in force") {
		t.Errorf("%+v\n%s", r, r.Text())
	}
	n.placed(goodFiles())

	// The same if all sources are gone.
	if err := os.RemoveAll(n.root + "/efi"); err != nil {
		t.Fatal(err)
	}
	if r = n.run(); r.OK() || !r.InForce || r.Taken != "" {
		t.Errorf("%+v", r)
	}
	n.placed(goodFiles())
}

// At boot, a missing file only affects its own purpose. On a running node, such a config is refused
// and the current one stays.
func TestProvisionWithoutAFile(t *testing.T) {
	n := newNode(t)
	lacking := with(goodFiles(), "tls/key.pem", "-")
	n.esp(lacking)
	r := n.run()
	if !r.OK() || !r.InForce || len(r.Missing) != 1 || !strings.Contains(r.Text(), "tls/key.pem is missing beside anymx.toml") {
		t.Fatalf("%+v\n%s", r, r.Text())
	}
	if got := n.read("/run/anymx-config/anymx.toml"); got != lacking["anymx.toml"] {
		t.Errorf("placed: %q", got)
	}
	n.absent("/run/anymx-config/problem", "/run/anymx-config/tls/key.pem")
	n.esp(goodFiles())
	if r = n.run(); !r.OK() || len(r.Missing) != 0 {
		t.Fatal(r.Text())
	}
	n.esp(lacking)
	if r = n.run(); r.OK() || !r.InForce || len(r.Problems) != 1 || r.Changed.Any() {
		t.Errorf("%+v\n%s", r, r.Text())
	}
	n.placed(goodFiles())
}

func TestProvisionNothing(t *testing.T) {
	n := newNode(t)
	r := n.run()
	if r.OK() || r.InForce || r.Taken != "" || len(r.Looked) != 4 {
		t.Fatalf("%+v", r)
	}
	if text := n.read("/run/anymx-config/problem"); !strings.Contains(text, "this node has no config") || !strings.Contains(text, "labelled ANYMX") {
		t.Error(text)
	}
	n.absent("/run/anymx-config/anymx.toml")
}

func TestProvisionFromCredentials(t *testing.T) {
	n := newNode(t)
	n.esp(with(goodFiles(), "anymx.toml", "not TOML"))
	n.credential("anymx.tree", pack(t, goodFiles(), true))
	r := n.run()
	if !r.OK() || r.Source != "credential anymx.tree" || r.Looked[2].Found != "not read" {
		t.Fatalf("%+v", r)
	}
	n.placed(goodFiles())
	n.absent("/var/lib/anymx-machine/config") // it would come back otherwise

	// Only the config, with secrets from the system.
	n = newNode(t)
	alone := edit(t, "tls_cert = \"/etc/anymx/tls/cert.pem\"\ntls_key = \"/etc/anymx/tls/key.pem\"", "")
	alone = strings.Replace(alone, `"file:/etc/anymx/recipients.example.net"`, `"any"`, 1)
	alone = alone[:strings.Index(alone, "[shield]")]
	n.credential("anymx.config", []byte(alone))
	if r := n.run(); !r.OK() || len(r.Missing) != 2 {
		t.Errorf("without secrets: %s", r.Text())
	}
	writeTree(t, n.root+"/run/credentials/@system", map[string]string{"wg.key": hush[0], "bgp.router1": hush[1]})
	if r := n.run(); !r.OK() || r.Source != "credential anymx.config" {
		t.Errorf("with secrets: %s", r.Text())
	}
	n.absent("/run/credstore/wg.key")

	// A source that exists but can't be read is not skipped.
	n = newNode(t)
	n.esp(goodFiles())
	n.credential("anymx.tree", []byte("no tar"))
	if r := n.run(); r.OK() || r.Taken != "credential anymx.tree" || !strings.Contains(r.Text(), "tar:") {
		t.Errorf("%s", r.Text())
	}
}

// Foreign files for systemd-networkd stay.
func TestProvisionLeavesOthersNetwork(t *testing.T) {
	n := newNode(t)
	writeTree(t, n.root+"/run/systemd/network", map[string]string{"10-uplink.network": "[Match]\nName=ens3\n", "70-x.network": "x"})
	n.esp(goodFiles())
	r := n.run()
	if !r.OK() || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "10-uplink.network was not installed") {
		t.Errorf("%s", r.Text())
	}
	n.esp(with(goodFiles(), "network/10-uplink.network", "-", "network/20-vlan.netdev", "-"))
	if r = n.run(); !r.OK() {
		t.Errorf("%s", r.Text())
	}
	n.absent("/run/systemd/network/20-vlan.netdev")
	if n.read("/run/systemd/network/10-uplink.network") != "[Match]\nName=ens3\n" || n.read("/run/systemd/network/70-x.network") != "x" {
		t.Error("another's file was changed")
	}
}

// A machine that can't be written to is an error, and the config in force stays.
func TestProvisionWithoutRoom(t *testing.T) {
	n := newNode(t)
	n.esp(goodFiles())
	n.run()
	n.esp(with(goodFiles(), "recipients.example.net", "x\n"))
	n.options.Group = func(string) (int, error) { return 0, errors.New("no such group") }
	if root() {
		if _, err := Run(t.Context(), n.options); err == nil || !strings.Contains(err.Error(), "no such group") {
			t.Errorf("%v", err)
		}
		if err := os.RemoveAll(n.root + "/run/anymx-config.new"); err != nil {
			t.Fatal(err)
		}
		n.placed(goodFiles())
	}
	entries, err := os.ReadDir(n.root + "/run/credstore")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// The copy is atomic: the previous one stays until the new one is complete.
func TestKeepReplaces(t *testing.T) {
	n := newNode(t)
	o := n.options.withDefaults()
	for _, recipients := range []string{"a\n", "b\n", "b\n"} {
		bundle := treeOf(with(goodFiles(), "recipients.example.net", recipients))
		writeTree(t, n.root+keptDir+aside, map[string]string{"tree/anymx.toml": "of a crash"})
		if err := o.keep(&Report{Source: "stick", At: testTime}, bundle); err != nil {
			t.Fatal(err)
		}
		got, err := readKept(n.root + keptDir)
		if err != nil || string(got.Files["recipients.example.net"]) != recipients || len(got.Files) != len(bundle.Files) {
			t.Errorf("%v, %v", got.Names(), err)
		}
	}
}
