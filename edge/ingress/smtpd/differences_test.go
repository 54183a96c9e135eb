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

// differences is the table of all differences: testdata/differences/table.txt. Its lines are
//
//	lacks SETTING: REASON        dialogues with this setting or step are not compared
//	class ID: TITLE: REASON      why some replies differ
//	DIALOGUE:LINE | OURS | GO-SMTP'S | CLASS
type differences struct {
	missing []entry
	classes []entry
	rows    []difference
}

// entry is a key with what is to say of it.
type entry struct{ key, text string }

const differencesTable = "testdata/differences/table.txt"

func readDifferences(t *testing.T) *differences {
	t.Helper()
	text, err := os.ReadFile(differencesTable)
	if err != nil {
		t.Fatal(err)
	}
	d := &differences{}
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
			t.Fatalf("%s: what is %q?", differencesTable, line)
		}
	}
	return d
}

// lacks returns the setting or step of a dialogue that go-smtp has not; "" if it has them all.
func (d *differences) lacks(text string) string {
	for _, m := range d.missing {
		if regexp.MustCompile(`(?m)^(server .*\b|)` + regexp.QuoteMeta(m.key) + `\b`).MatchString(text) {
			return m.key
		}
	}
	return ""
}

// compare fails the test for each difference that is not in the table, and for each row that is none.
func (d *differences) compare(t *testing.T, found []difference) {
	t.Helper()
	for i, row := range d.rows {
		if !slices.ContainsFunc(d.classes, func(e entry) bool { return e.key == row.class }) {
			t.Errorf("%s: no class %q", row.place, row.class)
		}
		if slices.ContainsFunc(d.rows[:i], row.same) {
			t.Errorf("%s: twice in %s", row.place, differencesTable)
		}
		if !slices.ContainsFunc(found, row.same) {
			t.Errorf("%s: no longer a difference, remove it from %s", row.place, differencesTable)
		}
	}
	for _, f := range found {
		if !d.knows(f) {
			t.Errorf("not in %s:\n%s | %s | %s | CLASS", differencesTable, f.place, f.ours, f.theirs)
		}
	}
}

// same reports whether both differ at the same step in the same way.
func (f difference) same(g difference) bool {
	return f.place == g.place && f.ours == g.ours && f.theirs == g.theirs
}

// knows reports whether f is in the table.
func (d *differences) knows(f difference) bool { return slices.ContainsFunc(d.rows, f.same) }

var updatePage = flag.Bool("update", false, "write docs/go-smtp.md")

const differencesPage = "../../../docs/go-smtp.md"

// TestDifferencesPage holds that docs/go-smtp.md is written from the table.
func TestDifferencesPage(t *testing.T) {
	want := readDifferences(t).page()
	if *updatePage {
		if err := os.WriteFile(differencesPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(differencesPage); err != nil || string(got) != want {
		t.Errorf("docs/go-smtp.md is not current (%v): run go test ./edge/ingress/smtpd -run TestDifferencesPage -update", err)
	}
}

const differencesIntro = `<!-- written by go test ./edge/ingress/smtpd -run TestDifferencesPage -update -->
# How ingress differs from go-smtp's server

anymx sends mail by [go-smtp](https://github.com/emersion/go-smtp), and receives it by a command loop of its own. A test plays all dialogues in ` + "`edge/ingress/smtpd/testdata`" + ` to both servers, with the same rules for senders and recipients, and compares the reply codes. This page lists every step at which they differ, and why. Another difference fails the test, and so does one that is gone.

"closed" means that the server closes the connection, "open" that it reads on, "silent" that it says nothing. Once a server is out of step, the rest of that connection is not compared.

`

// page returns what docs/go-smtp.md should be.
func (d *differences) page() string {
	var b strings.Builder
	b.WriteString(differencesIntro)
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
