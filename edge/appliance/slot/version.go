package slot

import (
	"cmp"
	"strings"
)

// MaxVersion is how long a version may be, in bytes: with "anymx_" and "_verity" around it, it must
// fit a GPT label of 36 characters.
const MaxVersion = 36 - len(labelPrefix) - len(veritySuffix)

// ValidVersion reports whether v may be the version of an image, so that the names of its files,
// partitions and boot entry can be built from it and parsed again: lower-case letters, digits, ".",
// "^", "~" and "-", with a digit first.
func ValidVersion(v string) bool {
	return v != "" && len(v) <= MaxVersion && isDigit(v[0]) &&
		strings.IndexFunc(v, func(r rune) bool { return !versionRune(r) }) < 0
}

func versionRune(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || strings.ContainsRune(".^~-", r)
}

// Compare compares two versions by UAPI.10 (version format specification), like the boot loader and
// systemd-sysupdate: -1 if a is older, 0 if they are equal, 1 if b is older.
func Compare(a, b string) int {
	for {
		a, b = skipStrange(a), skipStrange(b)
		if order, rest := separator('~', &a, &b); rest {
			if order != 0 {
				return order // "1~rc1" is before "1": also where one of them ends
			}
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		for _, c := range []byte("-^.") {
			if order, _ := separator(c, &a, &b); order != 0 {
				return order
			}
		}
		of := isLetter
		if starts(a, isDigit) || starts(b, isDigit) {
			of = isDigit
		}
		x, y := prefix(&a, of), prefix(&b, of)
		if order := compareParts(x, y, of('0')); order != 0 {
			return order
		}
	}
}

// separator removes c from both. If only one has it, that one is older.
func separator(c byte, a, b *string) (order int, any bool) {
	is := func(x byte) bool { return x == c }
	inA, inB := starts(*a, is), starts(*b, is)
	if inA != inB {
		if inA {
			return -1, true
		}
		return 1, true
	}
	if inA {
		*a, *b = (*a)[1:], (*b)[1:]
	}
	return 0, inA
}

// compareParts compares two runs of digits, or of letters.
func compareParts(x, y string, digits bool) int {
	if !digits {
		return cmp.Compare(x, y)
	}
	if x == "" || y == "" { // a number is newer than none
		return cmp.Compare(len(x), len(y))
	}
	x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
}

// skipStrange drops leading characters that no version has: they only separate.
func skipStrange(s string) string {
	return strings.TrimLeftFunc(s, func(r rune) bool {
		return r >= 0x80 || !isDigit(byte(r)) && !isLetter(byte(r)) && !strings.ContainsRune("~-^.", r)
	})
}

// prefix removes the leading characters of a kind from s.
func prefix(s *string, of func(byte) bool) string {
	n := 0
	for n < len(*s) && of((*s)[n]) {
		n++
	}
	p := (*s)[:n]
	*s = (*s)[n:]
	return p
}

func starts(s string, of func(byte) bool) bool { return s != "" && of(s[0]) }
func isDigit(c byte) bool                      { return c >= '0' && c <= '9' }
func isLetter(c byte) bool                     { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
