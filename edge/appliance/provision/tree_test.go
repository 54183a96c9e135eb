package provision

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/config/configtest"
)

var testTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// hush has the secrets of the tests; no output may contain one.
var hush = []string{"cGFzc3dvcmRwYXNzd29yZHBhc3N3b3JkcGFzc3dvcmQ=", "correct-horse-battery", "swordfish-and-chips"}

const goodConfig = `# ams1
[node]
name = "ams1"
hostname = "mx.example.net"

[ingress]
tls_cert = "/etc/anymx/tls/cert.pem"
tls_key = "/etc/anymx/tls/key.pem"

[[domain]]
name = "example.net"
recipients = "file:/etc/anymx/recipients.example.net"

[core]
addresses = ["10.77.0.1:2525"]

` + configtest.Announced + `password_file = "credential:bgp.router1"

[shield]
interfaces = ["eth0"]
key_file = "/etc/anymx/shield.key"
block_file = "/etc/anymx/lists/shield.block"
`

// pair creates a certificate and its key.
var pair = sync.OnceValues(func() (cert, key []byte) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.net"},
		NotBefore: testTime.Add(-time.Hour), NotAfter: testTime.Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		panic(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
})

// goodFiles returns the files of a valid bundle.
func goodFiles() map[string]string {
	cert, key := pair()
	return map[string]string{
		"anymx.toml":                goodConfig,
		"tls/cert.pem":              string(cert),
		"tls/key.pem":               string(key),
		"recipients.example.net":    "postmaster\ninfo\n",
		"credentials/wg.key":        hush[0] + "\n",
		"credentials/bgp.router1":   hush[1] + "\n",
		"shield.key":                hush[2] + "\n",
		"lists/shield.block":        "198.51.100.0/24\n",
		"network/10-uplink.network": "[Match]\nName=eth0\n[Network]\nAddress=198.51.100.2/24\n",
		"network/20-vlan.netdev":    "[NetDev]\nName=vlan7\nKind=vlan\n",
	}
}

// with returns files with some replaced, or removed where the text is "-".
func with(files map[string]string, changes ...string) map[string]string {
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "-" {
			delete(files, changes[i])
		} else {
			files[changes[i]] = changes[i+1]
		}
	}
	return files
}

// edit returns the valid config with a piece of text replaced.
func edit(t testing.TB, old, replacement string) string {
	t.Helper()
	if !strings.Contains(goodConfig, old) {
		t.Fatalf("%q is not in the config", old)
	}
	return strings.Replace(goodConfig, old, replacement, 1)
}

func treeOf(files map[string]string) Bundle {
	a := &archive{files: map[string][]byte{}}
	for name, text := range files {
		a.files[name] = []byte(text)
	}
	bundle, err := collect(a)
	if err != nil {
		panic(err)
	}
	return bundle
}

func writeTree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// quiet fails the test if a text contains a secret.
func quiet(t testing.TB, text string) {
	t.Helper()
	for _, secret := range hush {
		if strings.Contains(text, secret) {
			t.Errorf("a secret is shown:\n%s", text)
		}
	}
	if strings.Contains(text, "PRIVATE KEY") {
		t.Errorf("a key is shown:\n%s", text)
	}
}

func problems(c Checked) string {
	var lines []string
	for _, p := range c.Problems {
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}

func TestCheck(t *testing.T) {
	cert, key := pair()
	_ = cert
	for name, test := range map[string]struct {
		files map[string]string
		want  []string // one for each problem, in order
		note  string
	}{
		"good":        {goodFiles(), nil, ""},
		"other files": {with(goodFiles(), "README", "x", "tls/old.pem", "x", ".hidden", "x"), nil, "README is not used"},
		"bad config":  {with(goodFiles(), "anymx.toml", edit(t, "hostname", "hostnmae")), []string{`anymx.toml:4:node.hostnmae: unknown key; did you mean "hostname"?`}, ""},
		"not TOML":    {with(goodFiles(), "anymx.toml", "[node\n"), []string{"anymx.toml:1:"}, ""},
		"no core":     {with(goodFiles(), "anymx.toml", "[node]\nname = \"a\"\nhostname = \"a.example.net\"\n"), []string{"anymx.toml:1:core: missing"}, ""},
		"no recipients": {with(goodFiles(), "recipients.example.net", "-"),
			[]string{"anymx.toml:12:domain[0].recipients: recipients.example.net is missing beside anymx.toml"}, ""},
		"bad recipients":   {with(goodFiles(), "recipients.example.net", "a\nb c@@\n"), []string{"recipients.example.net:2: "}, ""},
		"empty recipients": {with(goodFiles(), "recipients.example.net", ""), []string{"recipients.example.net:1: no recipients"}, ""},
		"no key":           {with(goodFiles(), "tls/key.pem", "-"), []string{"anymx.toml:8:ingress.tls_key: tls/key.pem is missing"}, ""},
		"wrong key":        {with(goodFiles(), "tls/key.pem", string(key[:len(key)-60])+"\n-----END PRIVATE KEY-----\n"), []string{"anymx.toml:7:ingress.tls_cert: tls/cert.pem and tls/key.pem: "}, ""},
		"elsewhere": {with(goodFiles(), "anymx.toml", edit(t, "/etc/anymx/tls/cert.pem", "/srv/cert.pem")),
			[]string{"anymx.toml:7:ingress.tls_cert: is not below /etc/anymx"}, "tls/cert.pem is not used"},
		"out of the bundle": {with(goodFiles(), "anymx.toml", edit(t, "/etc/anymx/tls/cert.pem", "/etc/anymx/../shadow")),
			[]string{"anymx.toml:7:ingress.tls_cert: the path is not a plain path"}, "tls/cert.pem is not used"},
		"no credential": {with(goodFiles(), "credentials/wg.key", "-"),
			[]string{"anymx.toml:18:tunnel.private_key_file: credentials/wg.key is missing in the bundle"}, ""},
		"no WireGuard key": {with(goodFiles(), "credentials/wg.key", hush[0][:43]), []string{"anymx.toml:18:tunnel.private_key_file: credentials/wg.key is not a WireGuard key"}, ""},
		"zero key":         {with(goodFiles(), "credentials/wg.key", strings.Repeat("A", 43)+"="), []string{"is not a WireGuard key"}, ""},
		"empty password":   {with(goodFiles(), "credentials/bgp.router1", "\n"), []string{"bgp.peer[0].password_file: credentials/bgp.router1 is empty"}, ""},
		"long password":    {with(goodFiles(), "credentials/bgp.router1", strings.Repeat("x", 81)), []string{"more than 80 bytes"}, ""},
		"short shield key": {with(goodFiles(), "shield.key", "short"), []string{"anymx.toml:39:shield.key_file: shield.key holds less than 16 bytes"}, ""},
		"wrong unit": {with(goodFiles(), "anymx.toml", edit(t, "credential:wg.key", "credential:key")),
			[]string{`tunnel.private_key_file: anymx-net gets only credentials whose name begins with "wg.": call it "wg.key"`}, "credentials/wg.key is not used"},
		"by path": {with(goodFiles(), "anymx.toml", edit(t, "credential:wg.key", "/etc/anymx/credentials/wg.key")),
			[]string{`the folder credentials is not copied to /etc/anymx; write "credential:wg.key"`}, "credentials/wg.key is not used"},
		"foreign credential": {with(goodFiles(), "credentials/passwd.hashed-password.root", "x"),
			[]string{"credentials/passwd.hashed-password.root:1: no program reads a credential of this name"}, ""},
		"unused credential": {with(goodFiles(), "credentials/wg.old", "x"), nil, `credentials/wg.old is not used: nothing in anymx.toml names "credential:wg.old"`},
		"state elsewhere":   {with(goodFiles(), "anymx.toml", edit(t, "hostname", "state_dir = \"/srv/anymx\"\nhostname")), []string{"anymx.toml:4:node.state_dir: an appliance uses /var/lib/anymx"}, ""},
		"socket elsewhere":  {with(goodFiles(), "anymx.toml", edit(t, "asn = 64512", "control = \"/tmp/x.sock\"\nasn = 64512")), []string{"bgp.control: an appliance has its sockets in /run/anymx"}, ""},
		"network name":      {with(goodFiles(), "network/eth0.conf", "x"), []string{"network/eth0.conf:1: systemd-networkd reads"}, ""},
		"network match":     {with(goodFiles(), "network/10-uplink.network", "[Network]\nDHCP=yes\n"), []string{"has no [Match] section"}, ""},
		"network noise":     {with(goodFiles(), "network/10-uplink.network", "[Match]\x00\n"), []string{"is not a text file"}, ""},
		"case alone": {with(goodFiles(), "network/10-Uplink.network", "[Match]\n"),
			[]string{"network/10-uplink.network:1: differs from network/10-Uplink.network in case only"}, ""},
		"a name": {with(goodFiles(), "network/a b.network", "[Match]\n"), []string{"network/a b.network:1: contains characters"}, ""},
		"no BGP": {with(goodFiles(), "anymx.toml", goodConfig[:strings.Index(goodConfig, "[bgp]")]), nil, "the node takes mail and announces nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Check(treeOf(test.files), CheckOptions{Now: testTime})
			text := problems(got)
			lines := slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return s == "" })
			if len(lines) != len(test.want) {
				t.Fatalf("%d problems, want %d:\n%s", len(lines), len(test.want), text)
			}
			for i, want := range test.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("got %q, want %q", lines[i], want)
				}
			}
			if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, test.note) || test.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, test.note)
			}
			quiet(t, text+strings.Join(got.Notes, "\n"))
		})
	}
}

// A credential of the machine replaces one in the bundle and takes precedence over it.
func TestCheckCredentials(t *testing.T) {
	have := func(name string) ([]byte, bool) {
		return []byte(hush[0]), name == "wg.key"
	}
	without := treeOf(with(goodFiles(), "credentials/wg.key", "-"))
	if c := Check(without, CheckOptions{Credential: have}); len(c.Problems)+len(c.Notes) > 0 {
		t.Errorf("given to the system: %s %v", problems(c), c.Notes)
	}
	if c := Check(without, CheckOptions{Elsewhere: true}); len(c.Problems) > 0 || len(c.Notes) != 1 {
		t.Errorf("given elsewhere: %s %v", problems(c), c.Notes)
	}
	if c := Check(treeOf(goodFiles()), CheckOptions{Credential: have}); len(c.Problems) > 0 || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "takes precedence") {
		t.Errorf("given twice: %s %v", problems(c), c.Notes)
	}
	bad := func(string) ([]byte, bool) { return []byte(hush[1]), true }
	if c := Check(without, CheckOptions{Credential: bad}); !strings.Contains(problems(c), "the system credential wg.key is not a WireGuard key") {
		t.Errorf("a bad one: %s", problems(c))
	}
	late := Check(treeOf(goodFiles()), CheckOptions{Now: testTime.Add(48 * time.Hour)})
	if len(late.Problems) > 0 || len(late.Notes) != 1 || !strings.Contains(late.Notes[0], "expired on 2026-05-02") {
		t.Errorf("an old certificate: %s %v", problems(late), late.Notes)
	}
}

// usesOf knows every key that names a file: a new one in package config makes this test fail.
func TestUsesOfKnowsEveryFile(t *testing.T) {
	c := config.Default()
	c.Tunnel = &config.Tunnel{Peers: []config.TunnelPeer{{}}}
	c.BGP = &config.BGP{Peers: []config.BGPPeer{{}}}
	c.Shield = &config.Shield{}
	c.Domains = []config.Domain{{}}
	want := map[string]bool{}
	var fill func(v reflect.Value, key string)
	fill = func(v reflect.Value, key string) {
		for i := range v.NumField() {
			field, name := v.Field(i), v.Type().Field(i).Tag.Get("toml")
			k := strings.TrimPrefix(key+"."+name, ".")
			switch {
			case field.Kind() == reflect.Pointer && !field.IsNil():
				fill(field.Elem(), k)
			case field.Kind() == reflect.Struct && field.Type().PkgPath() == v.Type().PkgPath():
				fill(field, k)
			case field.Kind() == reflect.Slice && field.Len() == 1 && field.Index(0).Kind() == reflect.Struct && field.Index(0).Type().PkgPath() == v.Type().PkgPath():
				fill(field.Index(0), k+"[0]")
			case field.Kind() == reflect.String && (strings.HasSuffix(name, "_file") || name == "tls_cert" || name == "tls_key"):
				field.SetString("/etc/anymx/" + k)
				want[k] = true
			case field.Kind() == reflect.String && name == "recipients":
				field.SetString(config.RecipientsFile + "/etc/anymx/" + k)
				want[k] = true
			}
		}
	}
	fill(reflect.ValueOf(&c).Elem(), "")
	if len(want) < 8 {
		t.Fatalf("found %v", want)
	}
	for _, u := range usesOf(&c) {
		if !want[u.key] || u.path != "/etc/anymx/"+u.key {
			t.Errorf("%+v is none of them", u)
		}
		delete(want, u.key)
	}
	if len(want) > 0 {
		t.Errorf("not known: %v", want)
	}
}

// FuzzCheck checks that checking a bundle always returns, whatever its config says, and that files
// are only installed where they belong.
func FuzzCheck(f *testing.F) {
	f.Add(goodConfig, "network/10-uplink.network", "[Match]\n")
	f.Add(goodConfig, "credentials/wg.key", "x")
	f.Add("[ingress]\ntls_cert=\"/etc/anymx/../x\"\ntls_key=\"/etc/anymx//\"", "a", "b")
	f.Fuzz(func(t *testing.T, text, name, data string) {
		files := goodFiles()
		files[name] = data
		files["anymx.toml"] = text
		bundle := treeOf(files)
		c := Check(bundle, CheckOptions{Now: testTime})
		p := planOf(bundle, c.Config)
		for _, it := range slices.Concat(p.config, p.secrets, p.network) {
			if !filepath.IsLocal(it.at) {
				t.Errorf("%q would be placed at %q", it.name, it.at)
			}
		}
		for _, it := range slices.Concat(p.secrets, p.network) {
			if strings.Contains(it.at, "/") && len(c.Problems) == 0 {
				t.Errorf("%q would be placed at %q", it.name, it.at)
			}
		}
	})
}
