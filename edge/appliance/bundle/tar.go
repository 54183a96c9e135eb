package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A bundle's tar contains plain files only, with short names, as the first POSIX format and GNU tar
// write them. Anything else that a tar can hold is refused instead of read: it is parsed before the
// signature is verified, by a program that may do anything to the machine.

const block = 512

// member is the header of one file.
type member struct {
	name string
	size int64 // bytes
}

// parseHeader reads a header. It returns nil without an error for a block of zeros: the end.
func parseHeader(b []byte) (*member, error) {
	if len(b) != block {
		return nil, errors.New("not a tar archive")
	}
	if isZero(b) {
		return nil, nil
	}
	sum, err := octal(b[148:156])
	if err != nil || sum != checksum(b) || string(b[257:262]) != "ustar" {
		return nil, errors.New("not a tar archive")
	}
	name := field(b[:100])
	switch kind := b[156]; {
	case kind != '0' && kind != 0:
		return nil, fmt.Errorf("%q in it is not a plain file", name)
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(nameCharacters, r) }):
		return nil, fmt.Errorf("the name %q in it is not allowed", name)
	case string(b[257:263]) == "ustar\x00" && field(b[345:500]) != "":
		return nil, fmt.Errorf("the name %q in it is in a folder", name)
	}
	size, err := octal(b[124:136])
	if err != nil {
		return nil, fmt.Errorf("the size of %q: %w", name, err)
	}
	return &member{name, size}, nil
}

const nameCharacters = "0123456789abcdefghijklmnopqrstuvwxyz._~^-"

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// field returns text up to a zero byte.
func field(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

// octal parses a number in tar's format.
func octal(b []byte) (int64, error) {
	text := strings.Trim(field(b), " ")
	if text == "" || strings.Trim(text, "01234567") != "" {
		return 0, fmt.Errorf("%q is not an octal number", text)
	}
	return strconv.ParseInt(text, 8, 64)
}

// checksum returns the sum of a header's bytes, with the bytes of the checksum itself counted as
// spaces.
func checksum(b []byte) (sum int64) {
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	return sum
}

// padding returns how many bytes follow a file of size bytes.
func padding(size int64) int64 { return (block - size%block) % block }

// readZeros reads n bytes, which must be zeros.
func readZeros(r io.Reader, n int64) error {
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if !isZero(b) {
		return errors.New("non-zero bytes in the padding")
	}
	return nil
}
