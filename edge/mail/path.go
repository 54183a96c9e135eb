package mail

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits in bytes, for the form that Path.String writes. RFC 5321 section 4.5.3.1 asks servers to
// accept at least 64 in a local part, and discourages limits. Generated return addresses are often
// longer, so anymx accepts twice that. The other two limits are the RFC's.
const (
	MaxLocal  = 128
	MaxDomain = 255
	MaxPath   = 256 // with its brackets
)

// ErrPath is wrapped by every error that ParsePath and CutPath return.
var ErrPath = errors.New("malformed address")

// Path is a mailbox address of the envelope (RFC 5321 section 4.1.2), without source route. The
// zero Path is the null reverse-path "<>".
type Path struct {
	Local  string // unquoted; UTF-8 if SMTPUTF8 was requested
	Domain string // as given, or an address literal with its brackets; "" only in the null path and a bare "postmaster"
}

// IsNull reports whether p is the null reverse-path.
func (p Path) IsNull() bool { return p.Local == "" && p.Domain == "" }

// IsASCII reports whether p can be sent to a server without SMTPUTF8.
func (p Path) IsASCII() bool { return isASCII(p.Local) && isASCII(p.Domain) }

// IsPostmaster reports whether p is the mailbox that must always exist (RFC 5321 section 4.5.1),
// whatever its domain and case.
func (p Path) IsPostmaster() bool { return strings.EqualFold(p.Local, "postmaster") }

// String returns p without brackets. The local part is quoted where the grammar requires it. The
// null path gives "".
func (p Path) String() string {
	if isDotString(p.Local) {
		if p.Domain == "" {
			return p.Local
		}
		return p.Local + "@" + p.Domain
	}
	return string(p.AppendTo(nil))
}

// AppendTo appends String to b without allocating.
func (p Path) AppendTo(b []byte) []byte {
	if p.IsNull() {
		return b
	}
	if isDotString(p.Local) {
		b = append(b, p.Local...)
	} else {
		b = appendQuoted(b, p.Local)
	}
	if p.Domain == "" {
		return b
	}
	b = append(b, '@')
	return append(b, p.Domain...)
}

// Key returns p in the form for comparisons and lookups: the domain in lower case with its U-labels
// as A-labels (RFC 5891), and the local part unchanged, because only its own host may interpret its
// case (RFC 5321 section 2.4).
func (p Path) Key() Path {
	domain := strings.ToLower(p.Domain)
	if !isASCII(domain) {
		if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
			domain = ascii
		}
	}
	return Path{Local: p.Local, Domain: domain}
}

// MarshalText returns String, for JSON.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a path as ParsePath does; "" is the null path.
func (p *Path) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = Path{}
		return nil
	}
	parsed, err := ParsePath(string(text))
	if err == nil {
		*p = parsed
	}
	return err
}

// ParsePath parses an address without brackets, as Path.String writes it.
func ParsePath(s string) (Path, error) {
	p, rest, err := cutMailbox(s)
	if err == nil && rest != "" { // also "a@b c@d"
		err = pathError("unexpected text after the address")
	}
	if err != nil {
		return Path{}, err
	}
	return p, nil
}

// CutPath parses the path at the start of a MAIL or RCPT argument, after "FROM:" or "TO:". It
// returns the rest, which is empty or starts with a space. Brackets may be missing, as some senders
// omit them; a source route is dropped (RFC 5321 appendix C). "<>" gives the null path, and
// "<postmaster>" a path without domain.
func CutPath(arg string) (p Path, rest string, err error) {
	s := strings.TrimLeft(arg, " ")
	if after, ok := strings.CutPrefix(s, "<>"); ok {
		return Path{}, after, checkRest(after)
	}
	inner, bracket := strings.CutPrefix(s, "<")
	if strings.HasPrefix(inner, "@") {
		if inner, err = cutRoute(inner); err != nil {
			return Path{}, "", err
		}
	}
	p, rest, err = cutMailbox(inner)
	if err != nil {
		return Path{}, "", err
	}
	if bracket {
		after, ok := strings.CutPrefix(rest, ">")
		if !ok {
			return Path{}, "", pathError(`missing ">"`)
		}
		rest = after
	}
	return p, rest, checkRest(rest)
}

// checkRest allows only a space or the end after a path, so that "<a@b>c@d" is refused.
func checkRest(rest string) error {
	if rest != "" && rest[0] != ' ' {
		return pathError("unexpected text after the address")
	}
	return nil
}

// cutRoute drops "@one,@two:" (RFC 5321 section 4.1.2, A-d-l).
func cutRoute(s string) (string, error) {
	route, mailbox, ok := strings.Cut(s, ":")
	if !ok {
		return "", pathError("source route without a colon")
	}
	for _, hop := range strings.Split(route, ",") {
		domain, ok := strings.CutPrefix(hop, "@")
		if !ok || !isDomain(domain) {
			return "", pathError("bad source route")
		}
	}
	return mailbox, nil
}

// cutMailbox parses Local-part "@" Domain, or a bare "postmaster".
func cutMailbox(s string) (Path, string, error) {
	local, rest, err := cutLocal(s)
	if err != nil {
		return Path{}, "", err
	}
	written := len(local)
	if !isDotString(local) {
		written = quotedLen(local)
	}
	if written > MaxLocal {
		return Path{}, "", errLongLocal
	}
	after, ok := strings.CutPrefix(rest, "@")
	if !ok {
		if p := (Path{Local: local}); p.IsPostmaster() {
			return p, rest, nil
		}
		return Path{}, "", pathError(`missing "@"`)
	}
	end := strings.IndexAny(after, " >\t")
	if end < 0 {
		end = len(after)
	}
	domain, rest := after[:end], after[end:]
	if !isDomain(domain) && !isLiteral(domain) {
		return Path{}, "", pathError("bad domain")
	}
	if written+len("<@>")+len(domain) > MaxPath {
		return Path{}, "", pathError("longer than 256 bytes")
	}
	return Path{Local: local, Domain: domain}, rest, nil
}

// cutLocal parses a dot-string or a quoted string, and returns it unquoted.
func cutLocal(s string) (local, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, "@ >\t")
		if end < 0 {
			end = len(s)
		}
		if !isDotString(s[:end]) {
			return "", "", pathError("bad local part")
		}
		return s[:end], s[end:], nil
	}
	b := make([]byte, 0, MaxLocal)
	for i := 1; i < len(s) && len(b) <= MaxLocal; i++ {
		c := s[i]
		if c == '"' {
			local = string(b)
			if local == "" || !isPlain(local) {
				return "", "", pathError("bad text in the quoted string")
			}
			return local, s[i+1:], nil
		}
		if c == '\\' { // quoted-pair, of ASCII only
			if i++; i == len(s) || s[i] >= 0x80 {
				break
			}
			c = s[i]
		}
		b = append(b, c)
	}
	if len(b) > MaxLocal {
		return "", "", errLongLocal
	}
	return "", "", pathError("quoted string is not closed, or has a bad backslash")
}

// appendQuoted appends s as a quoted-string (RFC 5321 section 4.1.2). Characters that a
// quoted-string can't hold become "?".
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// quotedLen returns the length of s as appendQuoted writes it.
func quotedLen(s string) int {
	return len(`""`) + len(s) + strings.Count(s, `"`) + strings.Count(s, `\`)
}

// isDotString reports whether s is a Dot-string of RFC 5321, with the UTF-8 of RFC 6531.
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x80:
			return isPlain(s) && !strings.Contains(s, "..") && strings.IndexFunc(s, notAtom) < 0
		case !atom[c], c == '.' && s[i+1] == '.':
			return false
		}
	}
	return true
}

// atom holds atext of RFC 5321, and the dot.
var atom = func() (t [128]bool) {
	for c := '!'; c < 0x7f; c++ {
		t[c] = !strings.ContainsRune(`()<>[]:;@\,"`, c)
	}
	return t
}()

func notAtom(r rune) bool { return r < 0x80 && !atom[r] }

// isPlain reports whether s is UTF-8 that is safe to display: without control characters,
// separators other than the ASCII space, and bidirectional controls. RFC 6531 leaves these to the
// receiver; their only use is to deceive readers.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == 0x7f {
			return false
		} else if c >= 0x80 {
			return utf8.ValidString(s) && strings.IndexFunc(s, notPlain) < 0
		}
	}
	return true
}

func notPlain(r rune) bool {
	return r != ' ' && unicode.In(r, unicode.Cc, unicode.Z, unicode.Bidi_Control)
}

// isDomain reports whether s is a Domain of RFC 5321. It also allows underscores, which are in use,
// and the U-labels of RFC 6531 if they hold only letters, digits and marks: servers map other dots
// and symbols differently. A trailing dot is refused.
func isDomain(s string) bool {
	if s == "" || len(s) > MaxDomain {
		return false
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			c := s[i]
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
			if !letter && c != '-' && c != '_' {
				return false
			}
			continue
		}
		label := s[start:i]
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || len(label) > 63 && isASCII(label) {
			return false
		}
		start = i + 1
	}
	return isASCII(s) || utf8.ValidString(s) && strings.IndexFunc(s, notLabel) < 0
}

// notLabel reports whether IDNA 2008 never allows r in a U-label. It lets through more than IDNA
// does; RFC 5892 section A allows the six listed characters by context.
func notLabel(r rune) bool {
	return r >= 0x80 && !unicode.In(r, unicode.L, unicode.M, unicode.Nd) &&
		!strings.ContainsRune("\u00b7\u05f3\u05f4\u30fb\u200c\u200d", r)
}

// isLiteral reports whether s is an address literal of RFC 5321 section 4.1.3: [192.0.2.1] or
// [IPv6:2001:db8::1].
func isLiteral(s string) bool {
	if len(s) < 2 || s[0] != '[' || s[len(s)-1] != ']' {
		return false
	}
	inner := s[1 : len(s)-1]
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		addr, err := netip.ParseAddr(inner[5:])
		return err == nil && addr.Is6() && addr.Zone() == ""
	}
	addr, err := netip.ParseAddr(inner)
	return err == nil && addr.Is4()
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// pathError returns ErrPath with a reason. It omits the text itself: that is untrusted, and its
// sender has it.
func pathError(why string) error { return fmt.Errorf("%w: %s", ErrPath, why) }

var errLongLocal = pathError("local part longer than 128 bytes")
