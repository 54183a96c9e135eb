package smtpd

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// difference is a reply of this server and that of go-smtp's to the same step of a dialogue.
type difference struct {
	place  string // dialogue:line
	ours   string // a code, "closed", or "stored"
	theirs string
	class  string // why
}

// dialect is the table of all differences: testdata/dialect/table.txt. Its lines are
//
//	lacks SETTING: REASON        dialogues with this setting or step are not compared
//	class ID: TITLE: REASON      why some replies differ
//	DIALOGUE:LINE | OURS | GO-SMTP'S | CLASS
type dialect struct {
	missing []entry
	classes []entry
	rows    []difference
}

// entry is a key with what is to say of it.
type entry struct{ key, text string }

const dialectTable = "testdata/dialect/table.txt"

func readDialect(t *testing.T) *dialect {
	t.Helper()
	text, err := os.ReadFile(dialectTable)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialect{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		key, reason, _ := strings.Cut(rest, ": ")
		switch fields := strings.Split(line, " | "); {
		case line == "" || line[0] == '#':
		case word == "lacks":
			d.missing = append(d.missing, entry{key, reason})
		case word == "class":
			d.classes = append(d.classes, entry{key, reason})
		case len(fields) == 4:
			d.rows = append(d.rows, difference{fields[0], fields[1], fields[2], fields[3]})
		default:
			t.Fatalf("%s: what is %q?", dialectTable, line)
		}
	}
	return d
}

// lacks returns the setting or step of a dialogue that go-smtp has not; "" if it has them all.
func (d *dialect) lacks(text string) string {
	for _, m := range d.missing {
		if regexp.MustCompile(`(?m)^(server .*\b|)` + regexp.QuoteMeta(m.key) + `\b`).MatchString(text) {
			return m.key
		}
	}
	return ""
}

// compare fails the test for each difference that is not in the table, and for each row that is none.
func (d *dialect) compare(t *testing.T, found []difference) {
	t.Helper()
	for i, row := range d.rows {
		if !slices.ContainsFunc(d.classes, func(e entry) bool { return e.key == row.class }) {
			t.Errorf("%s: no class %q", row.place, row.class)
		}
		if slices.ContainsFunc(d.rows[:i], row.same) {
			t.Errorf("%s: twice in %s", row.place, dialectTable)
		}
		if !slices.ContainsFunc(found, row.same) {
			t.Errorf("%s: no longer a difference, remove it from %s", row.place, dialectTable)
		}
	}
	for _, f := range found {
		if !d.knows(f) {
			t.Errorf("not in %s:\n%s | %s | %s | CLASS", dialectTable, f.place, f.ours, f.theirs)
		}
	}
}

// same reports whether both differ at the same step in the same way.
func (f difference) same(g difference) bool {
	return f.place == g.place && f.ours == g.ours && f.theirs == g.theirs
}

// knows reports whether f is in the table.
func (d *dialect) knows(f difference) bool { return slices.ContainsFunc(d.rows, f.same) }

var updatePage = flag.Bool("update", false, "write docs/dialect.md")

const dialectPage = "../../../docs/dialect.md"

// TestDialectPage holds that docs/dialect.md is written from the table.
func TestDialectPage(t *testing.T) {
	want := readDialect(t).page()
	if *updatePage {
		if err := os.WriteFile(dialectPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(dialectPage); err != nil || string(got) != want {
		t.Errorf("docs/dialect.md is not current (%v): run go test ./edge/ingress/smtpd -run TestDialectPage -update", err)
	}
}

const dialectIntro = `<!-- written by go test ./edge/ingress/smtpd -run TestDialectPage -update -->
# How ingress differs from go-smtp's server

anymx sends mail by [go-smtp](https://github.com/emersion/go-smtp), and receives it by a command loop of its own. A test plays all dialogues in ` + "`edge/ingress/smtpd/testdata`" + ` to both servers, with the same rules for senders and recipients, and compares the reply codes. This page lists every step at which they differ, and why. Another difference fails the test, and so does one that is gone.

"closed" means that the server closes the connection, "open" that it reads on, "silent" that it says nothing. Once a server is out of step, the rest of that connection is not compared.

`

// page returns what docs/dialect.md should be.
func (d *dialect) page() string {
	var b strings.Builder
	b.WriteString(dialectIntro)
	for _, class := range d.classes {
		title, reason, _ := strings.Cut(class.text, ": ")
		fmt.Fprintf(&b, "## %s\n\n%s\n\n| dialogue and line | anymx | go-smtp |\n| --- | --- | --- |\n", title, reason)
		for _, row := range d.rows {
			if row.class == class.key {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", row.place, row.ours, row.theirs)
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("## What is not compared\n\ngo-smtp has no counterpart of these settings and steps, so dialogues that use them are left out.\n\n| setting or step | why |\n| --- | --- |\n")
	for _, m := range d.missing {
		fmt.Fprintf(&b, "| `%s` | %s |\n", m.key, m.text)
	}
	return b.String()
}
