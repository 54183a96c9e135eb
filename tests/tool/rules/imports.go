package rules

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

// order says for each room which others it may import: main assembles, the
// node puts the parts together, parts stand on what is named here and on
// nothing else. "edge/..." means edge and all below it.
//
// Only what ships is held to it: a test may put any parts together. The two
// exceptions are bgp and xdp, which know nothing of mail, not even in tests. A
// room such as edge/operate/control/controltest serves tests only: it may import its
// parent and what that may import, and nothing that ships may import it.
var order = map[string][]string{
	"cmd/anymx":         {"edge/config", "edge/appliance/console", "edge/operate/control", "edge/appliance/diskimage", "edge/mail", "edge/appliance/provision", "edge/appliance/slot", "edge/spool"},
	"cmd/anymx-core":    {"edge/core", "edge/service"},
	"cmd/anymx-edge":    {"edge", "edge/service"},
	"cmd/anymx-net":     {"edge/uplink/network", "edge/service"},
	"cmd/anymx-bgp":     {"edge/uplink/anycast", "edge/service"},
	"cmd/anymx-machine": {"edge/appliance/machine", "edge/service", "edge/appliance/provision"},

	"edge": {"edge/..."},

	"edge/uplink/anycast":      {"bgp", "edge/config", "edge/operate/control", "edge/service", "edge/secret", "edge/statefile"},
	"edge/appliance/bundle":    {"edge/appliance/slot"},
	"edge/config":              {},
	"edge/appliance/console":   {"edge/config", "edge/operate/control"},
	"edge/operate/control":     {"edge/config", "edge/mail", "edge/queue", "edge/spool"},
	"edge/core":                {"edge/mail", "edge/ingress/wire"},
	"edge/appliance/diskimage": {},
	"edge/egress":              {"edge/mail", "edge/maillog", "edge/mx", "edge/queue", "edge/rules", "edge/delivery/smtpc", "edge/spool"},
	"edge/fleet":               {"edge/rules"},
	"edge/delivery/handoff":    {"edge/mail", "edge/maillog", "edge/queue", "edge/delivery/smtpc", "edge/spool", "edge/statefile"},
	"edge/appliance/machine":   {"edge/appliance/bundle", "edge/operate/control", "edge/appliance/provision", "edge/appliance/slot", "edge/statefile"},
	"edge/mail":                {},
	"edge/maillog":             {"edge/mail"},
	"edge/mx":                  {"edge/mail"},
	"edge/uplink/network":      {"edge/config", "edge/operate/control", "edge/uplink/plumb", "edge/service", "edge/secret", "edge/statefile", "edge/uplink/tunnel", "xdp"},
	"edge/uplink/plumb":        {},
	"edge/judge/policy":        {"edge/mail"},
	"edge/judge/policy/checks": {"edge/mail", "edge/mx", "edge/judge/policy"},
	"edge/service":             {"edge/config", "edge/operate/control"},
	"edge/appliance/provision": {"edge/config", "edge/judge/policy", "edge/statefile"},
	"edge/queue":               {"edge/mail", "edge/maillog", "edge/spool"},
	"edge/rules":               {"edge/mail"},
	"edge/secret":              {},
	"edge/appliance/slot":      {"edge/appliance/diskimage"},
	"edge/delivery/smtpc":      {"edge/mail", "edge/spool"},
	"edge/ingress/smtpd":       {"edge/mail", "edge/maillog", "edge/judge/policy", "edge/queue", "edge/spool", "edge/ingress/wire"},
	"edge/spool":               {"edge/mail"},
	"edge/statefile":           {},
	"edge/uplink/tunnel":       {"edge/secret"},
	"edge/ingress/wire":        {"edge/mail"},

	"bgp": {},
	"xdp": {},

	"image/pack": {"edge/appliance/bundle"}, // run by who builds the image

	"tests": {"edge/...", "bgp", "xdp", "tests/lab", "tests/netns", "tests/pop", "tests/vm", "tests/vm/lossy", "tests/vm/rack"}, // and every room below tests
}

// Imports holds the order between rooms.
func Imports(t *Tree) []Finding {
	var found []Finding
	for _, room := range t.Rooms {
		key := room.Path
		if below(key, "tests") {
			key = "tests"
		}
		may, known := order[key]
		if forTests(key) {
			parent := path.Dir(key)
			may, known = append(slices.Clone(order[parent]), parent), true
		}
		if !known {
			found = append(found, Finding{File: room.Path, Text: "this room has no place in the order of imports (tests/tool/rules/imports.go)"})
			continue
		}
		apart := below(room.Path, "bgp") || below(room.Path, "xdp")
		for _, source := range room.Sources {
			if source.Test && !apart {
				continue
			}
			for _, spec := range source.Imports {
				other, ours := strings.CutPrefix(importPath(spec), t.Module+"/")
				if ours && !allowed(may, other) && !(key == "tests" && below(other, room.Path)) {
					found = append(found, t.at(spec.Pos(), "%s may not import %s", room.Path, other))
				}
			}
		}
	}
	return found
}

// allowed says whether the row may lists room.
func allowed(may []string, room string) bool {
	return !forTests(room) && slices.ContainsFunc(may, func(name string) bool {
		all, tree := strings.CutSuffix(name, "/...")
		return room == name || tree && below(room, all)
	})
}

// forTests says whether a room serves tests only, by its name.
func forTests(room string) bool {
	name := path.Base(room)
	return name != "test" && strings.HasSuffix(name, "test")
}

// importPath is the path that an import names.
func importPath(spec *ast.ImportSpec) string {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // the parser has seen to it that this can't be
	}
	return name
}
