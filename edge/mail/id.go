package mail

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ID names one stored message on one node for its whole life: in the reply to the sender, in each
// log line, in the spool, and at core, which doesn't store the same ID from the same node twice.
//
// Its ten bytes are six of milliseconds since 1970, two of a counter, and two random ones drawn
// when the node started. So IDs sort by arrival, never repeat within a run, and don't repeat across
// runs when the clock steps back. The zero ID names no message.
type ID [10]byte

// idText is Crockford's alphabet in lower case: without the easily misread i, l, o and u.
var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// errID is returned by ParseID, wrapped with the text that it was given.
var errID = errors.New("not a spool id: it has 16 characters of 0-9 and a-z without i, l, o, u")

// String returns the 16 characters that people and core see.
func (id ID) String() string {
	var b [16]byte
	idText.Encode(b[:], id[:])
	return string(b[:])
}

// AppendTo appends the text form to b without allocating.
func (id ID) AppendTo(b []byte) []byte { return idText.AppendEncode(b, id[:]) }

// IsZero reports whether id names no message.
func (id ID) IsZero() bool { return id == ID{} }

// Time returns when the ID was drawn, to the millisecond.
func (id ID) Time() time.Time {
	var b [8]byte
	copy(b[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:])))
}

// MarshalText and UnmarshalText make the ID its text in JSON.
func (id ID) MarshalText() ([]byte, error) { return id.AppendTo(nil), nil }

// UnmarshalText reads the text form, as ParseID does.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

// ParseID reads the 16 characters of String.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 16 {
		return ID{}, fmt.Errorf("%q: %w", s, errID)
	}
	if n, err := idText.Decode(id[:], []byte(s)); err != nil || n != len(id) {
		return ID{}, fmt.Errorf("%q: %w", s, errID)
	}
	return id, nil
}

// IDs generates IDs. It is safe for use by many goroutines.
type IDs struct {
	run   uint16
	count atomic.Uint32
}

// NewIDs returns a generator. run should be random, and new for each start of the node.
func NewIDs(run uint16) *IDs { return &IDs{run: run} }

// Next draws the ID of a message that arrives at now. The counter wraps after 65,536 IDs: a node
// would have to draw more than that within one millisecond to repeat one.
func (s *IDs) Next(now time.Time) ID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixMilli()))
	var id ID
	copy(id[:6], b[2:])
	binary.BigEndian.PutUint16(id[6:8], uint16(s.count.Add(1)))
	binary.BigEndian.PutUint16(id[8:], s.run)
	return id
}
