package rules

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// packageOf is the Debian package of each tool that tests ask for. The package "" means
// that a minimal Debian has it: coreutils, grep, mount, tar, util-linux and a shell are on
// every machine that has dpkg; git, make and Go are what .ci/run asks for.
var packageOf = map[string]string{
	"apt-get": "", "bash": "", "chmod": "", "chown": "", "dpkg-deb": "", "git": "", "go": "", "grep": "", "losetup": "", "ls": "", "mkswap": "",
	"mount": "", "nsenter": "", "setpriv": "", "sh": "", "sleep": "", "swapoff": "", "swapon": "", "tar": "", "umount": "",
	"unshare": "",

	"bgpd": "frr", "vtysh": "frr", "zebra": "frr",
	"bird": "bird2", "birdc": "bird2",
	"curl":      "curl",
	"dovecot":   "dovecot-core",
	"fish":      "fish",
	"fsck.vfat": "dosfstools", "mkfs.vfat": "dosfstools",
	"ip":    "iproute2",
	"mcopy": "mtools", "mdir": "mtools", "mmd": "mtools", "mtype": "mtools",
	"mkfs.erofs": "erofs-utils",
	"mkfs.ext4":  "e2fsprogs",
	"mmdebstrap": "mmdebstrap",
	"nbdinfo":    "libnbd-bin",
	"nft":        "nftables",
	"ping":       "iputils-ping",
	"master":     "postfix", "postconf": "postfix", "postfix": "postfix", "postqueue": "postfix",
	"python3":  "python3",
	"qemu-img": "qemu-utils", "qemu-io": "qemu-utils",
	"qemu-system-x86_64": "qemu-system-x86",
	"sfdisk":             "fdisk",
	"sgdisk":             "gdisk",
	"ssh-add":            "openssh-client", "ssh-keygen": "openssh-client",
	"swaks":        "swaks",
	"tidy":         "tidy",
	"wg":           "wireguard-tools",
	"wireguard-go": "wireguard-go",
	"zsh":          "zsh",
	"zstd":         "zstd",
}

// notTools are what the search takes for a tool: image/build is a script of this tree,
// /proc/self/exe and the ladder's "compile" are the test itself.
var notTools = []string{"build", "compile", "exe"}

// usedOtherwise are the packages that are listed for something else than a program which
// Go code starts: the file that needs each, and the words there that say so.
var usedOtherwise = map[string][2]string{
	"ca-certificates":        {"Makefile", "go run $(STATICCHECK)"},
	"clang-14":               {"xdp/bpf/generate", "version=14"},
	"debian-archive-keyring": {"image/build", "debian-archive-keyring"},
	"dovecot-lmtpd":          {"tests/interop/dovecot_test.go", "protocols = lmtp"},
	"gcc":                    {"tests/tool/ladder/packages.go", `"-race"`},
	"libc6-dev":              {"tests/tool/ladder/packages.go", `"-race"`},
	"libnet-ssleay-perl":     {"tests/interop/swaks_test.go", "TLS supported"},
	"llvm-14":                {"xdp/bpf/generate", "llvm-strip-$version"},
	"mount":                  {"edge/appliance/diskimage/flash_test.go", `"losetup"`},
	"ovmf":                   {"tests/vm/firmware.go", "/usr/share/OVMF"},
	"shellcheck":             {"Makefile", "shellcheck"},
	"tcpdump":                {"docs/drain.md", "tcpdump"},
	"util-linux":             {"tests/lab/main_test.go", `"setpriv"`},
}

// purposes are the lists of .ci/setup that a room's tools are in: those of each line are
// installed together, and each line must do.
func purposes(tool Tool) []string {
	switch {
	case below(tool.Room, "tests/image"):
		return []string{"image qemu test"} // make test-image
	case below(tool.Room, "tests/tool/run"):
		return []string{"test"} // make run takes the client that is there
	case tool.Test:
		return []string{"test"}
	case below(tool.Room, "tests/tool/bench"):
		return []string{"bench"}
	case below(tool.Room, "tests/vm/up"):
		return []string{"qemu"}
	case below(tool.Room, "tests/lab/up"):
		return []string{"lab"}
	case below(tool.Room, "tests/lab"):
		return []string{"lab", "test"}
	case below(tool.Room, "image/pack"):
		return []string{"image", "test"}
	}
	return []string{"test"}
}

// asked are the tools that tests and their helpers ask for.
func asked(t *testing.T, tree *Tree) []Tool {
	t.Helper()
	found := Tools(tree, func(room string, test bool) bool {
		return test || below(room, "tests") || below(room, "image")
	})
	return slices.DeleteFunc(found, func(tool Tool) bool { return slices.Contains(notTools, tool.Name) })
}

// listed reads the list in .ci/setup: the packages by purpose.
func listed(t *testing.T, root string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".ci/setup"))
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string][]string{}
	for _, row := range regexp.MustCompile(`(?m)^(\w+) +\| ([\w.+-]+) +\| \S.*$`).FindAllSubmatch(text, -1) {
		packages[string(row[1])] = append(packages[string(row[1])], string(row[2]))
	}
	if len(packages["test"]) < 20 {
		t.Fatalf("only %d packages are listed for tests", len(packages["test"]))
	}
	return packages
}

// Each tool that a test asks for is in the list of .ci/setup, and each package of the list
// is asked for: where a tool is missing, its tests would be skipped on a new machine and
// nobody would see it.
func TestSetupNamesEachTool(t *testing.T) {
	const root = "../../.."
	tree, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	packages := listed(t, root)
	tools := asked(t, tree)
	used := map[string]bool{}
	for _, tool := range tools {
		pkg, known := packageOf[tool.Name]
		used[pkg], used[tool.Name+" "] = true, true
		if !known {
			t.Errorf("%v", tree.at(tool.Pos, "asks for %s, which packageOf has no package for", tool.Name))
			continue
		}
		for _, purpose := range purposes(tool) {
			if pkg != "" && !slices.ContainsFunc(strings.Fields(purpose), func(p string) bool { return slices.Contains(packages[p], pkg) }) {
				t.Errorf("%v", tree.at(tool.Pos, "asks for %s, but .ci/setup does not list %s for %s", tool.Name, pkg, purpose))
			}
		}
	}
	for name := range packageOf {
		if !used[name+" "] {
			t.Errorf("packageOf has %s, which nothing asks for", name)
		}
	}
	for purpose, names := range packages {
		for _, pkg := range names {
			if used[pkg] {
				continue
			}
			why, ok := usedOtherwise[pkg]
			if !ok {
				t.Errorf(".ci/setup lists %s for %s, and nothing asks for it", pkg, purpose)
				continue
			}
			text, err := os.ReadFile(filepath.Join(root, why[0]))
			if err != nil || !strings.Contains(string(text), why[1]) {
				t.Errorf(".ci/setup lists %s for %s, but %s has no %q any more (%v)", pkg, purpose, why[0], why[1], err)
			}
		}
	}
}

// Where .ci/setup has installed its packages, the tools are there.
func TestToolsAreInstalled(t *testing.T) {
	if os.Getenv("CI") != "true" {
		t.Skip("only CI=true promises that everything is installed")
	}
	tree, err := Read("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range asked(t, tree) {
		if !slices.Contains(purposes(tool), "test") {
			continue
		}
		if !slices.ContainsFunc([]string{"", "/usr/sbin/", "/usr/lib/frr/", "/usr/lib/postfix/sbin/"}, func(dir string) bool {
			_, err := exec.LookPath(dir + tool.Name)
			return err == nil
		}) {
			t.Errorf("%v", tree.at(tool.Pos, "asks for %s, which is not installed (package %q)", tool.Name, packageOf[tool.Name]))
		}
	}
}

// The search finds a tool whatever way its name takes to os/exec.
func TestToolsFindsEachWay(t *testing.T) {
	const head = "package p\nimport \"os/exec\"\n"
	for name, test := range map[string]struct{ code, want string }{
		"direct":   {`func f() { exec.Command("one").Run(); exec.CommandContext(nil, "two", "-x"); exec.LookPath("/usr/sbin/three") }`, "one three two"},
		"variable": {`func f() { name := "one"; exec.Command(name, "x") }`, "one"},
		"constant": {"const name = \"/usr/lib/x/one\"\nfunc f() { exec.Command(name) }", "one"},
		"list":     {`func f() { for _, p := range []string{"one", "two"} { exec.LookPath(p) } }`, "one two"},
		"map":      {`func f() { for p, from := range map[string]string{"one": "a", "two": "b"} { exec.LookPath(lookUp(p)); _ = from } }; func lookUp(p string) string { exec.LookPath(p); return p }`, "one two"},
		"helper":   {"func f() { need(1, \"one\", \"two\") }\nfunc need(n int, all ...string) { for _, p := range all { exec.LookPath(p) } }", "one two"},
		"twice":    {"func f() { a(\"one\") }\nfunc a(p string) { b(p) }\nfunc b(p string) { exec.Command(dir + p) }", "one"},
		"joined":   {"func f() { find(\"one\") }\nfunc find(p string) { for _, d := range []string{\"\", \"/sbin\"} { exec.LookPath(filepath.Join(d, p)) } }", "one"},
		"command line": {"func f() { run(\"one -a b\") }\nfunc run(line string) { args := strings.Fields(line); exec.Command(args[0], args[1:]...) }",
			"one"},
		"literal function": {`func f() { say := func(args ...string) { exec.Command(args[0], args[1:]...) }; say("one", "two") }`, "one"},
		"wrapper":          {"func f() { in(\"one\", \"-c\") }\nfunc in(args ...string) { exec.Command(\"nsenter\", append([]string{\"-n\", \"--\"}, args...)...) }", "nsenter one"},
		"no wrapper":       {"func f() { ip(\"link\") }\nfunc ip(args ...string) { exec.Command(\"ip\", args...) }", "ip"},
		"ours":             {`func f(dir string) { exec.Command(dir + "/anymx"); exec.Command(os.Args[0]) }`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tree := &Tree{set: token.NewFileSet()}
			file, err := parser.ParseFile(tree.set, "p_test.go", head+test.code, 0)
			if err != nil {
				t.Fatal(err)
			}
			tree.Rooms = []*Room{{Path: "p", Sources: []*Source{{Path: "p_test.go", Test: true, File: file}}}, {Path: "cmd/anymx"}}
			var names []string
			for _, tool := range Tools(tree, func(string, bool) bool { return true }) {
				names = append(names, tool.Name)
			}
			if got := strings.Join(names, " "); got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}
