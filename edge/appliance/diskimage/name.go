package diskimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// checkLongName says what is wrong with the name of a file to write. Only ASCII is allowed, because
// firmwares differ in how they read anything else.
func checkLongName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return errors.New("an empty name, or one of dots alone")
	case len(name) > 255:
		return errors.New("a name of more than 255 characters")
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || strings.HasPrefix(name, " "):
		return errors.New("a name that ends with a dot, or has a space at an end")
	case strings.ContainsFunc(name, func(r rune) bool {
		return r < ' ' || r > '~' || strings.ContainsRune(`"*/:<>?\|`, r)
	}):
		return errors.New("a name with characters that FAT can't hold everywhere")
	}
	return nil
}

// shortFolder returns the short name of a folder whose name is all lower-case letters.
func shortFolder(name string) ([]byte, error) {
	if name == "" || len(name) > 8 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") != "" {
		return nil, fmt.Errorf("folder %q: its name must be of one to eight lower-case letters", name)
	}
	return fmt.Appendf(nil, "%-11s", strings.ToUpper(name)), nil
}

// shortName creates a short name for a long one. It differs from those in taken, and is added to
// them.
func shortName(long string, taken map[string]bool) []byte {
	stem, ext := long, ""
	if i := strings.LastIndexByte(long, '.'); i > 0 {
		stem, ext = long[:i], long[i+1:]
	}
	base, lossy := shortPart(stem)
	extension, lossyToo := shortPart(ext)
	lossy = lossy || lossyToo || len(base) > 8 || len(extension) > 3 || base == ""
	extension = extension[:min(3, len(extension))]
	for n := 0; ; n++ {
		name := base
		if lossy || n > 0 {
			tail := fmt.Sprintf("~%d", max(n, 1))
			name = base[:min(len(base), 8-len(tail))] + tail
		}
		short := fmt.Sprintf("%-8s%-3s", name, extension)
		if !taken[short] && len(short) == 11 {
			taken[short] = true
			return []byte(short)
		}
	}
}

// shortPart reduces one half of a name to the characters allowed in a short name. lossy means that
// some were dropped or replaced.
func shortPart(s string) (part string, lossy bool) {
	part = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("!#$%&'()-@^_`{}~", r):
			return r
		case r == '.' || r == ' ':
			lossy = true
			return -1
		}
		lossy = true
		return '_'
	}, s)
	return part, lossy
}

// entriesOf returns how many entries a file of this name takes.
func entriesOf(name string) int64 { return int64(len(name)+12)/13 + 1 }

// longEntries returns the entries before a short one; the last part comes first.
func longEntries(name string, short []byte) []byte {
	parts := (len(name) + 12) / 13
	b := make([]byte, parts*entrySize)
	for i := range parts {
		part := parts - i
		e := b[i*entrySize:]
		e[0], e[11], e[13] = byte(part), attrLong, checksum(short)
		if i == 0 {
			e[0] |= lastLong
		}
		for j, at := range longAt {
			unit := uint16(0xffff)
			switch k := (part-1)*13 + j; {
			case k < len(name):
				unit = uint16(name[k])
			case k == len(name):
				unit = 0
			}
			binary.LittleEndian.PutUint16(e[at:], unit)
		}
	}
	return b
}
