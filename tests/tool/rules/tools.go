package rules

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Tool is a program that Go code of the tree starts or looks for.
type Tool struct {
	Name string
	Room string
	Test bool // a test file asks for it, not a helper
	Pos  token.Pos
}

// wrappers are programs that start the program which their arguments name.
var wrappers = []string{"nsenter", "unshare", "setpriv", "ip", "sh", "bash", "/bin/sh", "timeout", "env"}

// toolScan finds tools. It follows names backwards from os/exec: through variables,
// lists, and the parameters of functions that hand them on.
type toolScan struct {
	tree    *Tree
	sinks   map[string]map[int]bool      // by function, the parameters that name a tool; true: each element of a list
	returns map[string][]ast.Expr        // by function, what it returns
	globals map[string]map[string][]expr // by room and name
	changed bool                         // a sink was added
	found   map[Tool]bool
}

// expr is a value of a variable; all means that each of its elements is one.
type expr struct {
	ast.Expr
	all bool
}

// scope is a function and what is known in it.
type scope struct {
	room   string
	test   bool
	name   string // of the function
	params map[string]int
	values map[string][]expr
}

// Tools lists the programs that the tests of the tree and their helpers start or look
// for: every call of exec.LookPath, exec.Command and exec.CommandContext in the rooms for
// which in says so.
func Tools(t *Tree, in func(room string, test bool) bool) []Tool {
	s := &toolScan{tree: t, sinks: map[string]map[int]bool{}, returns: map[string][]ast.Expr{}, globals: map[string]map[string][]expr{}, found: map[Tool]bool{}}
	for s.changed = true; s.changed; {
		s.changed = false
		for _, room := range t.Rooms {
			for _, source := range room.Sources {
				if in(room.Path, source.Test) {
					s.file(room.Path, source)
				}
			}
		}
	}
	tools := make([]Tool, 0, len(s.found))
	for tool := range s.found {
		tools = append(tools, tool)
	}
	slices.SortFunc(tools, func(a, b Tool) int {
		return strings.Compare(a.Name+" "+a.Room, b.Name+" "+b.Room)
	})
	return tools
}

func (s *toolScan) file(room string, source *Source) {
	for _, decl := range source.Decls {
		switch d := decl.(type) {
		case *ast.GenDecl:
			if s.globals[room] == nil {
				s.globals[room] = map[string][]expr{}
			}
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && len(v.Values) == len(v.Names) {
					for i, name := range v.Names {
						s.globals[room][name.Name] = []expr{{Expr: v.Values[i]}}
					}
				}
			}
		case *ast.FuncDecl:
			if d.Body != nil {
				s.function(&scope{room: room, test: source.Test, name: d.Name.Name, params: params(d.Type), values: map[string][]expr{}}, d.Body)
			}
		}
	}
}

// params are the names of a function's parameters with their places.
func params(f *ast.FuncType) map[string]int {
	names, n := map[string]int{}, 0
	for _, field := range f.Params.List {
		for _, name := range field.Names {
			names[name.Name] = n
			n++
		}
		if len(field.Names) == 0 {
			n++
		}
	}
	return names
}

// function looks at a function's body, and at those of the functions in it that have a name.
func (s *toolScan) function(c *scope, body *ast.BlockStmt) {
	s.returns[c.room+"."+c.name] = nil
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if len(n.Lhs) == len(n.Rhs) {
				for i, left := range n.Lhs {
					if name, ok := left.(*ast.Ident); ok {
						c.values[name.Name] = append(c.values[name.Name], expr{Expr: n.Rhs[i]})
						if f, ok := n.Rhs[i].(*ast.FuncLit); ok {
							s.function(&scope{room: c.room, test: c.test, name: name.Name, params: params(f.Type), values: c.values}, f.Body)
						}
					}
				}
			} else if name, ok := n.Lhs[0].(*ast.Ident); ok && len(n.Rhs) == 1 { // path, err := f()
				c.values[name.Name] = append(c.values[name.Name], expr{Expr: n.Rhs[0]})
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) {
					c.values[name.Name] = append(c.values[name.Name], expr{Expr: n.Values[i]})
				}
			}
		case *ast.RangeStmt:
			for _, left := range []ast.Expr{n.Key, n.Value} {
				if name, ok := left.(*ast.Ident); ok && name.Name != "_" {
					c.values[name.Name] = append(c.values[name.Name], expr{n.X, true})
				}
			}
		case *ast.ReturnStmt:
			if len(n.Results) > 0 {
				s.returns[c.room+"."+c.name] = append(s.returns[c.room+"."+c.name], n.Results[0])
			}
		}
		return true
	})
	ast.Inspect(body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			s.call(c, call)
		}
		return true
	})
}

// starts is where os/exec's functions have the name of the program.
var starts = map[string]int{"LookPath": 0, "Command": 0, "CommandContext": 1}

// call looks at one call: of os/exec, or of a function that hands a name on to it.
func (s *toolScan) call(c *scope, call *ast.CallExpr) {
	if f, ok := call.Fun.(*ast.SelectorExpr); ok {
		if pkg, ok := f.X.(*ast.Ident); ok && pkg.Name == "exec" {
			if at, ok := starts[f.Sel.Name]; ok && at < len(call.Args) {
				s.value(c, call.Args[at], false, 0)
				s.wrapped(c, call.Args[at], call.Args[at+1:])
			}
			return
		}
	}
	for _, key := range keys(c.room, call) {
		for at, all := range s.sinks[key] {
			for i := at; i < len(call.Args) && (i == at || all); i++ {
				s.value(c, call.Args[i], all, 0)
			}
			s.wrapped(c, nil, call.Args[min(at, len(call.Args)):])
		}
	}
}

// wrapped looks at the arguments of a wrapper: those after a "--", or after the words
// `netns exec NAME`, and lists that are handed on.
func (s *toolScan) wrapped(c *scope, name ast.Expr, args []ast.Expr) {
	var words []string
	if name != nil {
		words = append(words, literals(name)...)
	}
	for _, arg := range args {
		words = append(words, literals(arg)...)
	}
	if len(words) == 0 || !slices.Contains(wrappers, words[0]) {
		return
	}
	if words[0] == "ip" && !slices.Contains(words, "exec") {
		return
	}
	if i := slices.Index(words, "--"); i >= 0 && i+1 < len(words) {
		s.add(c, words[i+1], args[0].Pos())
	}
	// append([]string{..., "--"}, args...): what comes in by a parameter is a tool.
	for _, arg := range args {
		if list, ok := arg.(*ast.CallExpr); ok && len(list.Args) == 2 {
			if last := literals(list.Args[0]); len(last) > 0 {
				s.value(c, list.Args[1], false, 0)
			}
		}
	}
}

// literals are the strings of an expression, in their order.
func literals(e ast.Expr) []string {
	var words []string
	ast.Inspect(e, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if word, err := strconv.Unquote(lit.Value); err == nil {
				words = append(words, word)
			}
		}
		return true
	})
	return words
}

// keys are the names that a call's function may have in sinks: its own room's, and
// everybody's if it is exported.
func keys(room string, call *ast.CallExpr) []string {
	var name string
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	default:
		return nil
	}
	if ast.IsExported(name) {
		return []string{room + "." + name, name}
	}
	return []string{room + "." + name}
}

// sink notes that a parameter names a tool.
func (s *toolScan) sink(c *scope, at int, all bool) {
	names := []string{c.room + "." + c.name}
	if ast.IsExported(c.name) {
		names = append(names, c.name)
	}
	for _, name := range names {
		if s.sinks[name] == nil {
			s.sinks[name] = map[int]bool{}
		}
		if had, ok := s.sinks[name][at]; !ok || all && !had {
			s.sinks[name][at], s.changed = all, true
		}
	}
}

// value takes an expression as the name of a tool, or as a list that begins with one; all
// means that each of its elements is one.
func (s *toolScan) value(c *scope, e ast.Expr, all bool, depth int) {
	if depth > 8 {
		return // a variable that is made from itself
	}
	depth++
	switch e := e.(type) {
	case *ast.BasicLit:
		if word, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			s.add(c, word, e.Pos())
		}
	case *ast.Ident:
		if at, ok := c.params[e.Name]; ok {
			s.sink(c, at, all)
		}
		for _, v := range append(slices.Clone(c.values[e.Name]), s.globals[c.room][e.Name]...) {
			s.value(c, v.Expr, all || v.all, depth)
		}
	case *ast.ParenExpr:
		s.value(c, e.X, all, depth)
	case *ast.BinaryExpr:
		s.value(c, e.Y, all, depth)
	case *ast.IndexExpr:
		s.value(c, e.X, all, depth)
	case *ast.SliceExpr:
		s.value(c, e.X, all, depth)
	case *ast.CompositeLit:
		for _, element := range e.Elts {
			if pair, ok := element.(*ast.KeyValueExpr); ok {
				if _, isMap := e.Type.(*ast.MapType); isMap {
					s.value(c, pair.Key, all, depth)
				}
				continue
			}
			s.value(c, element, all, depth)
			if !all {
				break
			}
		}
	case *ast.CallExpr:
		s.made(c, e, all, depth)
	}
}

// made takes the result of a call as the name of a tool.
func (s *toolScan) made(c *scope, call *ast.CallExpr, all bool, depth int) {
	if len(call.Args) == 0 && keys(c.room, call) == nil {
		return
	}
	if f, ok := call.Fun.(*ast.SelectorExpr); ok {
		if pkg, ok := f.X.(*ast.Ident); ok {
			switch pkg.Name + "." + f.Sel.Name {
			case "filepath.Join", "path.Join":
				s.value(c, call.Args[len(call.Args)-1], all, depth)
				return
			case "strings.Fields", "strings.Split", "strings.TrimSpace", "slices.Clone":
				s.value(c, call.Args[0], all, depth)
				return
			case "exec.LookPath", "fmt.Sprintf", "os.Executable":
				return // looked at where it is called; not a tool
			}
		}
	}
	if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "append" {
		s.value(c, call.Args[0], all, depth)
		return
	}
	inner := &scope{room: c.room, test: c.test, values: map[string][]expr{}}
	for _, key := range keys(c.room, call)[:1] {
		for _, result := range s.returns[key] {
			s.value(inner, result, all, depth)
		}
	}
}

var toolName = regexp.MustCompile(`^[a-z][a-zA-Z0-9_.+-]*$`)

// add notes a tool: the base of the first word of text. Our own programs are none.
func (s *toolScan) add(c *scope, text string, pos token.Pos) {
	words := strings.Fields(text)
	if len(words) == 0 || strings.HasSuffix(words[0], "/") {
		return
	}
	name := path.Base(words[0])
	if !toolName.MatchString(name) || slices.ContainsFunc(s.tree.Rooms, func(r *Room) bool { return r.Path == "cmd/"+name }) {
		return
	}
	for tool := range s.found {
		if tool.Name == name && tool.Room == c.room && tool.Test == c.test {
			return
		}
	}
	s.found[Tool{name, c.room, c.test, pos}] = true
}
