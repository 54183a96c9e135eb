// Package replies is the table of everything that the SMTP server says. Each row has an id, which the
// mail log names beside a refusal, and the circumstances of the reply; docs/replies.md is generated
// from them, for the postmaster whose mail was refused.
//
// What happens to the data: nothing. The package is pure. A session of edge/ingress/smtpd, or a rule
// of edge/judge, picks a row, fills in names and numbers, and the client reads it.
package replies

import (
	"fmt"
	"slices"
	"strings"

	"anymx/edge/mail"
)

// Row is a reply that the server may give. Its text may have verbs of fmt.
type Row struct {
	mail.Reply        // with the row's id
	When       string // it is given; a sentence for docs
	verbs      bool
}

var table []*Row

// All returns the rows, by code, enhanced code and id.
func All() []*Row {
	rows := slices.Clone(table)
	slices.SortFunc(rows, func(a, b *Row) int {
		if a.Code != b.Code {
			return a.Code - b.Code
		}
		if c := slices.Compare(a.Enhanced[:], b.Enhanced[:]); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return rows
}

// row adds one to the table. code holds the code and the enhanced code: "550 5.1.1".
func row(id, code, text, when string) *Row {
	r := &Row{Reply: mail.Reply{ID: id, Text: text}, When: when, verbs: strings.Contains(text, "%")}
	if n, _ := fmt.Sscanf(code, "%d %d.%d.%d", &r.Code, &r.Enhanced[0], &r.Enhanced[1], &r.Enhanced[2]); n != 1 && n != 4 {
		panic("replies: " + id + ": bad code " + code)
	}
	table = append(table, r)
	return r
}

// With returns the reply with args in its text.
func (r *Row) With(args ...any) mail.Reply {
	reply := r.Reply
	if r.verbs {
		reply.Text = fmt.Sprintf(reply.Text, args...)
	}
	return reply
}
