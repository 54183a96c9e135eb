package policy

import (
	"strings"
	"unicode/utf8"
)

// restricted reports whether a core might do more with local than look up a mailbox. Postfix,
// Sendmail and Exim can all be set up to read a local part as sender-specified routing, which makes
// an open relay of a core that trusts the edge: "victim%gmail.com@ours", "gmail.com!victim@ours".
// Some also hand a local part to a program, a file or a command line, where a leading character
// changes its meaning.
func restricted(local string) bool {
	return routes(local) || strings.IndexFunc(local, isLeader) == 0
}

// routes reports whether local can name a second address: by "%" (RFC 1123 section 5.2.16), "!"
// (UUCP), "@" (only a quoted local part has one) or ":" (a source route, or DECnet's "node::user").
func routes(local string) bool {
	for i := 0; i < len(local); i++ {
		if c := local[i]; c >= utf8.RuneSelf {
			return strings.IndexFunc(local[i:], isRouting) >= 0
		} else if routing[c] {
			return true
		}
	}
	return false
}

// routing holds the ASCII characters of isRouting.
var routing = [utf8.RuneSelf]bool{'%': true, '!': true, '@': true, ':': true}

// isRouting reports whether r is one of "%!@:" or becomes one by NFKC: a core that normalizes
// addresses, as RFC 8265 lets it, would read it as that.
func isRouting(r rune) bool {
	if r < utf8.RuneSelf {
		return routing[r]
	}
	return strings.ContainsRune("％﹪！﹗︕‼⁈⁉＠﹫：﹕︓⩴", r)
}

// isLeader reports whether a local part that begins with r may be read as a command ("|"), a file
// ("/", "."), or a command-line option ("-"), also after NFKC.
func isLeader(r rune) bool {
	return strings.ContainsRune("|/.-｜／．․‥…﹒︙︰－﹣", r)
}
