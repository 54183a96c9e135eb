package core

import (
	"strings"

	"anymx/edge/mail"
)

// identity identifies a message across all nodes: its spool id, a dot, and the name of its node.
// The zero identity means none.
type identity struct {
	id   mail.ID
	node string
}

// maxNode is the longest name of a node, in bytes.
const maxNode = 63

// parseIdentity parses the XFORWARD IDENT of an edge. It reports false for that of another server,
// such as a queue id that will be reused.
func parseIdentity(s string) (identity, bool) {
	text, node, ok := strings.Cut(s, ".")
	if !ok || node == "" || len(node) > maxNode {
		return identity{}, false
	}
	for _, c := range []byte(node) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return identity{}, false
		}
	}
	id, err := mail.ParseID(text)
	if err != nil || id.IsZero() {
		return identity{}, false
	}
	return identity{id, node}, true
}

func (i identity) isNone() bool { return i.node == "" }

// day returns the day on which the message arrived at its node, counted since 1970.
func (i identity) day() uint32 { return uint32(i.id.Time().Unix() / secondsPerDay) }

const secondsPerDay = 24 * 60 * 60

// String returns the identity as in XFORWARD.
func (i identity) String() string { return i.id.String() + "." + i.node }
