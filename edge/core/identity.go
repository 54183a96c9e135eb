package core

import (
	"strings"

	"anymx/edge/mail"
)

// identity tells a message from all others of all nodes: the spool id that its
// node gave it, a dot, and the node's name. The zero identity is none.
type identity struct {
	id   mail.ID
	node string
}

// maxNode is how long a node's name may be, in octets.
const maxNode = 63

// parseIdentity reads what an edge says as XFORWARD IDENT. What another server
// says there, such as a queue id that it will use again, is no identity.
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

// day is that on which the message came to its node, counted since 1970.
func (i identity) day() uint32 { return uint32(i.id.Time().Unix() / secondsPerDay) }

const secondsPerDay = 24 * 60 * 60

// String is the identity as it is said.
func (i identity) String() string { return i.id.String() + "." + i.node }
