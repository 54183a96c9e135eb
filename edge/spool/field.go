package spool

// This file is pure: it encodes and decodes the fields of records: tag, length and value.

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"
	"unicode/utf8"

	"anymx/edge/mail"
)

// fields iterates over the fields of a record.
type fields struct {
	rest  string
	tag   uint64
	value string
	err   error // sticky; the first one
}

// next moves to the next field. It returns false at the end or on an error.
func (f *fields) next() bool {
	if f.err != nil || f.rest == "" {
		return false
	}
	tag, size := f.uvarint(), f.uvarint()
	if f.err == nil && size > uint64(len(f.rest)) {
		f.err = fmt.Errorf("field %d of %d bytes, %d left: %w", tag, size, len(f.rest), errRecord)
	}
	if f.err != nil {
		return false
	}
	f.tag, f.value, f.rest = tag, f.rest[:size], f.rest[size:]
	return true
}

// uvarint reads an unsigned varint from the rest.
func (f *fields) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(f.rest) && i < binary.MaxVarintLen64; i++ {
		c := f.rest[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break // more than 64 bits
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			f.rest = f.rest[i+1:]
			return v
		}
	}
	f.fail("number")
	return 0
}

// cutField returns the first field of b and what comes after it. ok is false if there is none.
func cutField(b []byte) (tag uint64, value, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, false
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return 0, nil, nil, false
	}
	b = b[n:]
	return tag, b[:size], b[size:], true
}

func (f *fields) fail(what string) {
	if f.err == nil {
		f.err = fmt.Errorf("bad %s: %w", what, errRecord)
	}
}

// number returns the field's value as an unsigned varint.
func (f *fields) number() uint64 {
	in := fields{rest: f.value}
	v := in.uvarint()
	if in.err != nil || in.rest != "" {
		f.fail("number")
	}
	return v
}

func (f *fields) time() time.Time {
	if len(f.value) != 8 {
		f.fail("time")
		return time.Time{}
	}
	return unstamp(int64(binary.LittleEndian.Uint64([]byte(f.value))))
}

func (f *fields) addr() netip.AddrPort {
	var a netip.AddrPort
	if err := a.UnmarshalBinary([]byte(f.value)); err != nil {
		f.fail("address")
	}
	return a
}

func (f *fields) recipient() mail.Recipient {
	var r mail.Recipient
	in := fields{rest: f.value}
	for in.next() {
		switch in.tag {
		case tagLocal:
			r.Path.Local = in.value
		case tagDomain:
			r.Path.Domain = in.value
		case tagNotify:
			r.Notify = mail.Notify(in.number())
		case tagORcpt:
			r.ORcpt = in.value
		}
	}
	if f.err == nil {
		f.err = in.err
	}
	return r
}

func (f *fields) recipientState() RecipientState {
	var r RecipientState
	in := fields{rest: f.value}
	for in.next() {
		switch in.tag {
		case tagStatus:
			r.Status = Status(in.number())
		case tagLast:
			r.Last = in.value
		case tagAt:
			r.At = in.time()
		}
	}
	if f.err == nil {
		f.err = in.err
	}
	return r
}

// appendGroup starts a field of size bytes.
func appendGroup(b []byte, tag uint64, size int) []byte {
	b = binary.AppendUvarint(b, tag)
	return binary.AppendUvarint(b, uint64(size))
}

func appendNumber(b []byte, tag, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(appendGroup(b, tag, uvarintSize(v)), v)
}

func appendBool(b []byte, tag uint64, v bool) []byte {
	if !v {
		return b
	}
	return appendNumber(b, tag, 1)
}

func appendText(b []byte, tag uint64, s string) []byte {
	if s == "" {
		return b
	}
	return append(appendGroup(b, tag, len(s)), s...)
}

func appendTime(b []byte, tag uint64, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return binary.LittleEndian.AppendUint64(appendGroup(b, tag, 8), uint64(stamp(t)))
}

func appendPath(b []byte, p mail.Path) []byte {
	return appendText(appendText(b, tagLocal, p.Local), tagDomain, p.Domain)
}

func appendAddr(b []byte, tag uint64, a netip.AddrPort) []byte {
	if a == (netip.AddrPort{}) {
		return b
	}
	var buf [64]byte
	v, err := a.AppendBinary(buf[:0])
	if err != nil {
		return b // AppendBinary never returns an error
	}
	return append(appendGroup(b, tag, len(v)), v...)
}

// The sizes of what the append functions write, for the groups that hold them.

func uvarintSize(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

func groupSize(tag uint64, size int) int {
	return uvarintSize(tag) + uvarintSize(uint64(size)) + size
}

func numberSize(tag, v uint64) int {
	if v == 0 {
		return 0
	}
	return groupSize(tag, uvarintSize(v))
}

func textSize(tag uint64, s string) int {
	if s == "" {
		return 0
	}
	return groupSize(tag, len(s))
}

func timeSize(tag uint64, t time.Time) int {
	if t.IsZero() {
		return 0
	}
	return groupSize(tag, 8)
}

func pathSize(p mail.Path) int { return textSize(tagLocal, p.Local) + textSize(tagDomain, p.Domain) }

// noTime is the stamp of the zero time.
const noTime = math.MinInt64

// The first and the last time that nanoseconds since 1970 can represent, in the years 1677 and
// 2262.
var (
	firstTime = time.Unix(0, noTime+1)
	lastTime  = time.Unix(0, math.MaxInt64)
)

// stamp returns t in nanoseconds since 1970. A time before firstTime or after lastTime becomes the
// zero time: no mail was sent then.
func stamp(t time.Time) int64 {
	if t.Before(firstTime) || t.After(lastTime) {
		return noTime
	}
	return t.UnixNano()
}

func unstamp(n int64) time.Time {
	if n == noTime {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// clip cuts s to at most size bytes, without splitting a character.
func clip(s string, size int) string {
	if len(s) <= size {
		return s
	}
	for size > 0 && !utf8.RuneStart(s[size]) {
		size--
	}
	return s[:size]
}
