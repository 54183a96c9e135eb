package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. In the file it is a plain integer (bytes) or text with a unit: B,
// KB, MB, GB, TB for powers of 1000 and KiB, MiB, GiB, TiB for powers of 1024, in either case, with
// or without a space before it.
type Size int64

// The powers of 1024.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// sizeUnits is ordered so that the first unit that divides a size is the one to print it in.
var sizeUnits = []struct {
	name string
	size Size
}{
	{"TiB", TiB}, {"TB", 1e12}, {"GiB", GiB}, {"GB", 1e9}, {"MiB", MiB}, {"MB", 1e6}, {"KiB", KiB}, {"KB", 1e3}, {"B", 1},
}

// String renders the size in the largest unit that divides it, and without a unit where none does:
// "35MiB", "10KB", "512". What it returns for a size of 0 or more is read back as the same size.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if u.size > 1 && s > 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText renders the size as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a size. The error says in plain words what would be right.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	digits := len(in) - len(strings.TrimLeft(in, "0123456789"))
	if digits == 0 {
		if strings.HasPrefix(in, "-") {
			return errors.New("must not be negative")
		}
		return fmt.Errorf(`%s is not a size; write "35MiB", "10KB" or a number of bytes`, quote(in))
	}
	unit := Size(1)
	if name := strings.TrimSpace(in[digits:]); name != "" {
		var err error
		if unit, err = sizeUnit(name); err != nil {
			return fmt.Errorf("%s is not a size: %w", quote(in), err)
		}
	}
	n, err := strconv.ParseInt(in[:digits], 10, 64)
	if err != nil || n > math.MaxInt64/int64(unit) {
		return fmt.Errorf("%s is larger than a size can be", quote(in))
	}
	*s = Size(n) * unit
	return nil
}

func sizeUnit(name string) (Size, error) {
	for _, u := range sizeUnits {
		if strings.EqualFold(name, u.name) {
			return u.size, nil
		}
	}
	if len(name) == 1 && strings.ContainsAny(name, "kKmMgGtT") {
		k := strings.ToUpper(name)
		return 0, fmt.Errorf("write %siB (powers of 1024) or %sB (powers of 1000)", k, k)
	}
	return 0, errors.New("the units are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB")
}

// quote shows a value from the file in a message, cut where it is long.
func quote(s string) string {
	const longest = 60
	if len(s) > longest {
		return strconv.Quote(strings.ToValidUTF8(s[:longest], "")) + "..."
	}
	return strconv.Quote(s)
}
