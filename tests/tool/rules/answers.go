package rules

import (
	"go/ast"
	"slices"
)

// contract is the package with the types of the control sockets, and contractError its type for
// errors, which carries a code.
const (
	contract      = "edge/operate/api"
	contractError = "Error"
)

// answering are the parts of the tree that may name the errors of the control sockets: the sockets
// themselves, and programs that ask over them.
var answering = []string{"edge/operate", "cmd", "tests"}

// Answers finds rooms that make or look for an error of the control sockets although they don't
// answer on one: they return a refusal, and edge/operate/control gives it its code. Tests may name
// the errors anywhere.
func Answers(t *Tree) []Finding {
	var found []Finding
	for _, room := range t.Rooms {
		if slices.ContainsFunc(answering, func(top string) bool { return below(room.Path, top) }) {
			continue
		}
		for _, source := range room.Sources {
			if source.Test {
				continue
			}
			uses(source, t.Module+"/"+contract, func(sel *ast.SelectorExpr) {
				if sel.Sel.Name == contractError {
					found = append(found, t.at(sel.Pos(), "%s names api.Error, which carries the code of an answer; return a refusal (edge/refusal)", room.Path))
				}
			})
		}
	}
	return found
}
