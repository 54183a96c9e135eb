// Command generate writes docs/replies.md from the table of package replies. Run it at the top of the
// tree after every change of that:
//
//	go run ./edge/judge/replies/generate
//
// What happens to the data: each row becomes one of the page's table, by its code. A test fails while
// the committed page differs.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"anymx/edge/judge/replies"
)

func main() {
	path := filepath.Join("docs", "replies.md")
	if err := os.WriteFile(path, []byte(page()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// intro stands above the table.
const intro = `<!-- written by go run ./edge/judge/replies/generate -->
# What the server says

Each reply of an edge to SMTP clients, by its code. The mail log names the id of a refusal: ` + "`anymx-edge` logs `event=refused stage=rcpt ... reply=\"550 5.1.1 user unknown\" reply_id=user-unknown`" + `.

A code that begins with 4 asks the sender to try again later, which mail servers do by themselves. A code that begins with 5 is final: the sender is told that the message was not delivered. Keys such as ` + "`ingress.max_line`" + ` are described in [config.md](config.md).

| code | text | id | when |
| --- | --- | --- | --- |
`

// page returns what docs/replies.md should be.
func page() string {
	var b strings.Builder
	b.WriteString(intro)
	for _, r := range replies.All() {
		code := fmt.Sprint(r.Code)
		if e := r.Enhanced.String(); e != "" {
			code += " " + e
		}
		fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", code, strings.ReplaceAll(shown(r.Text), "<", "\\<"), r.ID, r.When)
	}
	return b.String()
}

// shown returns a row's text with an ellipsis for what is filled in.
func shown(text string) string {
	return strings.NewReplacer("%s", "…", "%d", "…").Replace(text)
}
