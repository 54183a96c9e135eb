package bgp

import (
	"fmt"
	"io"
	"log/slog"
)

// Password is the shared secret of TCP MD5 (RFC 2385), at most 80 octets, which
// is the kernel's limit. It prints as "(hidden)" whatever prints it: fmt, slog
// or encoding/json. Empty: no TCP MD5.
type Password string

// hidden stands wherever a password is printed.
const hidden = "(hidden)"

func (Password) String() string { return hidden }

// Format prints "(hidden)" for every verb, those that take no Stringer too.
func (Password) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

func (Password) LogValue() slog.Value { return slog.StringValue(hidden) }

func (Password) MarshalText() ([]byte, error) { return []byte(hidden), nil }
