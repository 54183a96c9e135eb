package rules

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// importsFile is where whoever adds an import or a room edits the tables.
const importsFile = "tests/tool/rules/imports.go"

// Order is who may import whom.
type Order struct {
	// Rooms lists for each room exactly the rooms that it imports.
	Rooms map[string][]string
	// Wings lists parts of the tree from the bottom up. A room belongs to the longest path that
	// it is or lies below, and imports only from its own line and the lines before it.
	Wings [][]string
}

// order is the order of this tree. To add a room or an import, add it to the row in Rooms; to
// remove one, delete it there. A room outside of the wings below also needs a place among them.
//
// Only what ships is held to it: a test may combine any rooms. The exceptions are bgp and xdp,
// which know nothing of mail: their tests may import tests/kit and nothing else of this module. A
// room such as edge/operate/control/controltest serves tests only: nothing that ships may import
// it.
var order = Order{
	Rooms: map[string][]string{
		"cmd/anymx": {
			"edge/config", "edge/mail", "edge/spool", "edge/spool/salvage",
			"edge/appliance/console", "edge/appliance/diskimage", "edge/appliance/provision", "edge/appliance/slot",
			"edge/operate/api", "edge/operate/control", "edge/operate/words",
		},
		"cmd/anymx-bgp":     {"edge/service", "edge/uplink/anycast"},
		"cmd/anymx-core":    {"edge/core", "edge/service"},
		"cmd/anymx-edge":    {"edge", "edge/service"},
		"cmd/anymx-machine": {"edge/appliance/machine", "edge/appliance/provision", "edge/service"},
		"cmd/anymx-net":     {"edge/service", "edge/uplink/network"},

		"edge": {
			"edge/budget", "edge/config", "edge/drain", "edge/mail", "edge/maillog", "edge/queue", "edge/rescue", "edge/selftest", "edge/service", "edge/spool", "edge/spool/salvage", "edge/statefile",
			"edge/delivery/handoff", "edge/delivery/routing", "edge/delivery/smtpc",
			"edge/ingress/certificate", "edge/ingress/own", "edge/ingress/recipients", "edge/ingress/smtpd", "edge/ingress/wire",
			"edge/judge/policy",
			"edge/operate/api", "edge/operate/control", "edge/operate/poll",
			"edge/uplink/device",
		},

		"edge/budget":            {},
		"edge/config":            {},
		"edge/config/configtest": {},
		"edge/config/generate":   {"edge/config"},
		"edge/core":              {"edge/mail"},
		"edge/drain":             {"edge/config", "edge/operate/api", "edge/queue", "edge/refusal", "edge/service", "edge/statefile"},
		"edge/mail":              {},
		"edge/maillog":           {"edge/mail"},
		"edge/queue":             {"edge/mail", "edge/maillog", "edge/spool"},
		"edge/refusal":           {},
		"edge/rescue": {
			"edge/config", "edge/mail", "edge/refusal", "edge/service", "edge/spool", "edge/spool/salvage",
			"edge/operate/api", "edge/operate/control",
		},
		"edge/secret": {"edge/statefile"},
		"edge/selftest": {
			"edge/mail", "edge/service",
			"edge/delivery/smtpc",
			"edge/ingress/own",
			"edge/operate/api",
		},
		"edge/service":       {"edge/config", "edge/statefile", "edge/operate/api", "edge/operate/control", "edge/operate/words"},
		"edge/spool":         {"edge/budget", "edge/mail"},
		"edge/spool/salvage": {"edge/operate/api", "edge/refusal", "edge/spool"},
		"edge/statefile":     {},

		"edge/judge/policy":           {"edge/judge/replies", "edge/mail"},
		"edge/judge/replies":          {"edge/mail"},
		"edge/judge/replies/generate": {"edge/judge/replies"},

		"edge/ingress/smtpd": {
			"edge/budget", "edge/mail", "edge/maillog", "edge/spool",
			"edge/ingress/own", "edge/ingress/wire",
			"edge/judge/policy", "edge/judge/replies",
		},
		"edge/ingress/certificate": {},
		"edge/ingress/own":         {"edge/mail"},
		"edge/ingress/recipients":  {"edge/config", "edge/judge/policy", "edge/service"},
		"edge/ingress/wire":        {"edge/ingress/own", "edge/mail"},

		"edge/delivery/handoff": {
			"edge/mail", "edge/queue", "edge/spool", "edge/statefile",
			"edge/delivery/routing", "edge/delivery/smtpc",
		},
		"edge/delivery/routing":        {"edge/judge/policy", "edge/mail"},
		"edge/delivery/smtpc":          {"edge/mail"},
		"edge/delivery/smtpc/smtptest": {},

		"edge/operate/api":                 {"edge/config", "edge/mail"},
		"edge/operate/control":             {"edge/config", "edge/mail", "edge/operate/api", "edge/operate/words", "edge/refusal"},
		"edge/operate/poll":                {"edge/operate/api", "edge/operate/control"},
		"edge/operate/words":               {"edge/mail", "edge/operate/api"},
		"edge/operate/control/controltest": {"edge/mail", "edge/operate/api", "edge/operate/control"},

		"edge/uplink/anycast": {
			"bgp", "edge/config", "edge/refusal", "edge/secret", "edge/service", "edge/statefile",
			"edge/operate/api", "edge/operate/control",
		},
		"edge/uplink/network": {
			"edge/config", "edge/refusal", "edge/secret", "edge/service", "edge/statefile", "xdp",
			"edge/operate/api", "edge/operate/control",
			"edge/uplink/plumb", "edge/uplink/tunnel",
		},
		"edge/uplink/device": {},
		"edge/uplink/plumb":  {},
		"edge/uplink/tunnel": {},

		"edge/appliance/bundle":    {"edge/appliance/slot"},
		"edge/appliance/console":   {"edge/config", "edge/operate/api", "edge/operate/words"},
		"edge/appliance/diskimage": {},
		"edge/appliance/machine": {
			"edge/refusal", "edge/service", "edge/statefile",
			"edge/appliance/bundle", "edge/appliance/provision", "edge/appliance/slot",
			"edge/operate/api", "edge/operate/control", "edge/operate/words",
		},
		"edge/appliance/provision":     {"edge/config", "edge/judge/policy", "edge/statefile"},
		"edge/appliance/slot":          {"edge/appliance/diskimage"},
		"edge/appliance/slot/slottest": {"edge/appliance/slot"},

		"bgp":        {},
		"xdp":        {},
		"image/pack": {"edge/appliance/bundle"},

		"tests/anycast":      {},
		"tests/docs":         {},
		"tests/image":        {},
		"tests/interop":      {},
		"tests/lab":          {"edge/operate/control", "tests/kit"},
		"tests/lab/up":       {"tests/lab"},
		"tests/network":      {},
		"tests/node":         {},
		"tests/kit":          {},
		"tests/kit/gobgp":    {},
		"tests/pop":          {"edge/delivery/smtpc/smtptest", "edge/operate/control", "tests/kit"},
		"tests/soak":         {},
		"tests/tool/bench":   {"tests/kit", "tests/lab", "tests/vm", "tests/vm/rack", "edge/operate/api", "edge/service"},
		"tests/tool/ladder":  {"tests/kit"},
		"tests/tool/nightly": {},
		"tests/tool/rules":   {},
		"tests/tool/run":     {"edge/delivery/smtpc/smtptest", "edge/mail", "tests/kit"},
		"tests/vm":           {},
		"tests/vm/lossy":     {},
		"tests/vm/rack":      {"tests/lab", "tests/vm", "tests/vm/lossy"},
		"tests/vm/up":        {"tests/lab", "tests/vm", "tests/vm/rack"},
	},
	Wings: [][]string{
		{"edge/budget", "edge/config", "edge/mail", "edge/maillog", "edge/refusal", "edge/secret", "edge/statefile"}, // foundations
		{"bgp", "xdp"},
		{"edge/operate"},
		{"edge/service"},
		{"edge/spool"},
		{"edge/rescue"},
		{"edge/queue"},
		{"edge/drain"},
		{"edge/judge"},
		{"edge/ingress"},
		{"edge/delivery"},
		{"edge/selftest"},
		{"edge/core"},
		{"edge/uplink"},
		{"edge/appliance"},
		{"edge"}, // the composition
		{"cmd", "image"},
		{"tests"},
	},
}

// Imports holds the order between rooms: each room imports what its row lists and nothing else,
// and each row lists what its room imports and nothing else.
func Imports(t *Tree, order Order) []Finding {
	var found []Finding
	for _, room := range t.Rooms {
		row, known := order.Rooms[room.Path]
		if !known {
			found = append(found, Finding{File: room.Path, Text: "this room has no row in the order of imports; add one with what it imports to " + importsFile})
			continue
		}
		used := map[string]bool{}
		for _, source := range room.Sources {
			found = append(found, t.wrongImports(room.Path, source, order, used)...)
		}
		for _, other := range row {
			if !used[other] {
				found = append(found, tableFinding("the row of %s lists %s, which it does not import; delete it from the row", room.Path, other))
			}
		}
	}
	return append(found, t.vacant(order)...)
}

// wrongImports are the imports of source, a file in room, that the order does not allow. It marks
// in used those that the room's row lists.
func (t *Tree) wrongImports(room string, source *Source, order Order, used map[string]bool) []Finding {
	apart := below(room, "bgp") || below(room, "xdp")
	if source.Test && !apart {
		return nil
	}
	var found []Finding
	for _, spec := range source.Imports {
		other, ours := strings.CutPrefix(importPath(spec), t.Module+"/")
		if !ours {
			continue
		}
		if source.Test {
			if !below(other, "tests/kit") {
				found = append(found, t.at(spec.Pos(), "tests of %s may import tests/kit and nothing else of this module, not %s", room, other))
			}
			continue
		}
		switch {
		case forTests(other) && !forTests(room) && !below(room, "tests"):
			found = append(found, t.at(spec.Pos(), "%s serves tests only, so %s may not import it", other, room))
		case !slices.Contains(order.Rooms[room], other):
			found = append(found, t.at(spec.Pos(), "%s may not import %s; if it should, add it to the row of %s in %s", room, other, room, importsFile))
		case order.wing(room) < order.wing(other):
			found = append(found, t.at(spec.Pos(), "%s may not import %s, whose wing comes later; move what both need into a wing before %s (see Wings in %s)", room, other, room, importsFile))
		}
		used[other] = true
	}
	return found
}

// vacant are the rows and wings of the order that have no room, and the rooms without a wing.
func (t *Tree) vacant(order Order) []Finding {
	var found []Finding
	exists := func(room string) bool {
		return slices.ContainsFunc(t.Rooms, func(r *Room) bool { return r.Path == room })
	}
	for _, room := range slices.Sorted(maps.Keys(order.Rooms)) {
		if !exists(room) {
			found = append(found, tableFinding("there is no room %s; delete its row", room))
		}
	}
	inhabited := map[string]bool{}
	for _, room := range t.Rooms {
		wing := order.wingName(room.Path)
		inhabited[wing] = true
		if wing == "" {
			found = append(found, Finding{File: room.Path, Text: "this room is in no wing; add it to Wings in " + importsFile})
		}
	}
	for _, wing := range slices.Concat(order.Wings...) {
		if !inhabited[wing] {
			found = append(found, tableFinding("there is no room in the wing %s; delete it from Wings", wing))
		}
	}
	return found
}

// wingName is the wing that room belongs to, "" if there is none.
func (o Order) wingName(room string) string {
	longest := ""
	for _, wing := range slices.Concat(o.Wings...) {
		if below(room, wing) && len(wing) > len(longest) {
			longest = wing
		}
	}
	return longest
}

// wing is the place of room's wing in the order, -1 if there is none.
func (o Order) wing(room string) int {
	name := o.wingName(room)
	return slices.IndexFunc(o.Wings, func(line []string) bool { return slices.Contains(line, name) })
}

func tableFinding(format string, args ...any) Finding {
	return Finding{File: importsFile, Text: fmt.Sprintf(format, args...)}
}

// forTests says whether a room serves tests only, by its name. The self-test is the node's own.
func forTests(room string) bool {
	name := path.Base(room)
	return name != "test" && name != "selftest" && strings.HasSuffix(name, "test")
}

// importPath is the path that an import names.
func importPath(spec *ast.ImportSpec) string {
	name, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // the parser has seen to it that this can't be
	}
	return name
}
