package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docFile = "../../docs/config.md"

// fence returns the text of the block in the documentation that starts with ```name.
func fence(t *testing.T, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(readFile(t, docFile), "\n```"+name+"\n")
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatalf("%s has no block %q", docFile, name)
	}
	return block + "\n"
}

func TestDocExamples(t *testing.T) {
	for _, name := range []string{"toml minimal", "toml complete", "toml anycast"} {
		if _, err := Parse(name, []byte(fence(t, name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Parse("anymx.toml", []byte(fence(t, "toml broken")))
	if got, want := fmt.Sprintln(err), fence(t, "text broken"); got != want {
		t.Errorf("the file shown gives:\n%s\nand not, as shown:\n%s", got, want)
	}
}

// row is what a table of the documentation says of a key.
type row struct{ value, change string }

// docRows maps "section key" to its row.
func docRows(t *testing.T) map[string]row {
	rows := map[string]row{}
	heading := regexp.MustCompile(`^## \[+([a-z.]+)\]+$`)
	line := regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| (.+?) \\| (\\w+) \\| .{10,} \\|$")
	section := ""
	for _, text := range strings.Split(readFile(t, docFile), "\n") {
		if m := heading.FindStringSubmatch(text); m != nil {
			section = m[1]
		} else if m := line.FindStringSubmatch(text); m != nil {
			rows[section+" "+m[1]] = row{strings.Trim(m[2], "`"), m[3]}
		} else if strings.HasPrefix(text, "| `") {
			t.Errorf("%s: not a row as the others: %s", docFile, text)
		}
	}
	return rows
}

// Every key has a row with its default and with what a change of it needs, and every row has a key.
func TestDocTables(t *testing.T) {
	rows := docRows(t)
	var walk func(section string, v reflect.Value)
	walk = func(section string, v reflect.Value) {
		for i := range v.NumField() {
			field, value := v.Type().Field(i), v.Field(i)
			name := field.Tag.Get("toml")
			if in := inner(field.Type); isSection(in) {
				if field.Type != in {
					value = newValue(in)
				}
				walk(strings.TrimPrefix(section+"."+name, "."), value)
				continue
			}
			got, ok := rows[section+" "+name]
			delete(rows, section+" "+name)
			want := row{literal(value), "reload"}
			if field.Tag.Get("restart") == "true" {
				want.change = "restart"
			}
			if got.value == "required" {
				checkRequired(t, section, name)
				want.value = "required"
			}
			if !ok || got != want {
				t.Errorf("%s: [%s] %s: the row says %+v, the code %+v", docFile, section, name, got, want)
			}
		}
	}
	walk("", reflect.ValueOf(Default()))
	for key := range rows {
		t.Errorf("%s: there is no key [%s", docFile, strings.Replace(key, " ", "] ", 1))
	}
}

// checkRequired takes a key out of the complete example and wants it to be missed.
func checkRequired(t *testing.T, section, name string) {
	header := regexp.MustCompile(`^\[+` + regexp.QuoteMeta(section) + `\]+`)
	lines := strings.Split(fence(t, "toml complete"), "\n")
	at := slices.IndexFunc(lines, header.MatchString)
	key := slices.IndexFunc(lines[max(at, 0):], func(line string) bool { return strings.HasPrefix(line, name+" ") })
	if at < 0 || key < 0 {
		t.Fatalf("the complete example has no [%s] %s", section, name)
	}
	lines = slices.Delete(lines, at+key, at+key+1)
	_, err := Parse("f", []byte(strings.Join(lines, "\n")))
	missed := regexp.MustCompile(`(?m)^f:\d+:` + regexp.QuoteMeta(section) + `(\[0\])?\.` + name + `: missing`)
	if err == nil || !missed.MatchString(err.Error()) {
		t.Errorf("[%s] %s is documented as required; without it: %v", section, name, err)
	}
}

// literal writes a value as in the file, and what is not there as "none".
func literal(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && v.IsNil() || v.Type() == reflect.TypeFor[netip.Addr]() && v.IsZero() {
		return "none"
	}
	if v.Kind() == reflect.Slice {
		elements := make([]string, v.Len())
		for i := range elements {
			elements[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	}
	text := fmt.Sprint(v.Interface())
	_, isSize := v.Interface().(Size)
	if v.Kind() == reflect.String || v.Type() == reflect.TypeFor[Duration]() ||
		isSize && strings.Trim(text, "0123456789") != "" {
		return `"` + text + `"`
	}
	return text
}
