package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"anymx/edge/mail"
)

// This file is pure: it turns an envelope or a State into the bytes that the
// engine keeps, and back.
//
// Both records start with one octet of version, which changes only when older
// readers would go wrong. What follows in an envelope record is a header of
// fixed size, so that a million of them can be walked without reading the
// rest, and then fields: tag, length (both as unsigned varints), value. A
// reader skips tags that it does not know, so a field can be added without a
// new version. Numbers are unsigned varints, or little-endian where the size
// is fixed. Fields that hold their zero value are left out.
//
// The records carry no checksum of their own: the engine checks each block
// that it reads and each record of its log.

// recordVersion is written into new records; a record with a greater one was
// written by a newer program.
const recordVersion = 1

// headerSize is the size of an envelope record's header:
//
//	0      version
//	1      flags
//	2      origin
//	3      zero
//	4:8    number of recipients
//	8:16   octets of the body
//	16:24  arrival, in nanoseconds since 1970
//	24:28  CRC-32C of a body that has a file of its own
const headerSize = 28

// Flags of a header.
const (
	bodyInFile = 1 // the body is a file
	isProof    = 2 // the message is a proof
)

// Tags of the fields of an envelope record. Never use a number twice.
const (
	tagSender     = 1
	tagRecipient  = 2 // one for each, in order; holds the tags below
	tagBody       = 3
	tagSMTPUTF8   = 4
	tagRequireTLS = 5
	tagReturn     = 6
	tagEnvID      = 7
	tagNoDSN      = 8
	tagAddr       = 9
	tagService    = 10
	tagHelo       = 11
	tagName       = 12
	tagProto      = 13
	tagTLS        = 14
	tagContent    = 15 // absent in records of a program that did not look
)

// Tags of the fields of a recipient, and of a sender.
const (
	tagLocal  = 1
	tagDomain = 2
	tagNotify = 3
	tagORcpt  = 4
)

// Tags of the fields of a state record.
const (
	tagAttempts     = 1
	tagDue          = 2
	tagLastTry      = 3
	tagHeld         = 4
	tagHoldReason   = 5
	tagDelayNoticed = 6
	tagStates       = 7 // how many recipients follow; absent if State.Recipients is nil
	tagWaited       = 9 // in nanoseconds
	tagState        = 8 // one for each recipient, in order; holds the tags below

	tagStatus = 1
	tagLast   = 2
	tagAt     = 3
)

// errRecord is wrapped by what the decoders return for a record that no
// version of this program has written.
var errRecord = errors.New("malformed record")

// header is the part of an envelope record that recovery reads.
type header struct {
	inFile     bool
	proof      bool
	origin     mail.Origin
	recipients int
	size       int64
	arrived    time.Time
	sum        uint32 // of the body, if inFile
}

// appendEnvelope writes the record of env to b, with what h says of where the
// body is and whether it is a proof. The ID is the record's key and is not
// written.
func appendEnvelope(b []byte, env *mail.Envelope, h header) []byte {
	var fixed [headerSize]byte
	fixed[0] = recordVersion
	if h.inFile {
		fixed[1] |= bodyInFile
	}
	if h.proof {
		fixed[1] |= isProof
	}
	fixed[2] = byte(env.Origin)
	binary.LittleEndian.PutUint32(fixed[4:], uint32(len(env.Recipients)))
	binary.LittleEndian.PutUint64(fixed[8:], uint64(env.Size))
	binary.LittleEndian.PutUint64(fixed[16:], uint64(stamp(env.Arrived)))
	binary.LittleEndian.PutUint32(fixed[24:], h.sum)
	b = append(b, fixed[:]...)

	if !env.Sender.IsNull() {
		b = appendGroup(b, tagSender, pathSize(env.Sender))
		b = appendPath(b, env.Sender)
	}
	for i := range env.Recipients {
		r := &env.Recipients[i]
		b = appendGroup(b, tagRecipient, pathSize(r.Path)+numberSize(tagNotify, uint64(r.Notify))+textSize(tagORcpt, r.ORcpt))
		b = appendPath(b, r.Path)
		b = appendNumber(b, tagNotify, uint64(r.Notify))
		b = appendText(b, tagORcpt, r.ORcpt)
	}
	b = appendNumber(b, tagBody, uint64(env.Body))
	b = appendBool(b, tagSMTPUTF8, env.SMTPUTF8)
	b = appendBool(b, tagRequireTLS, env.RequireTLS)
	b = appendNumber(b, tagReturn, uint64(env.Return))
	b = appendText(b, tagEnvID, env.EnvID)
	b = appendBool(b, tagNoDSN, env.NoDSN)
	b = appendAddr(b, tagAddr, env.Client.Addr)
	b = appendAddr(b, tagService, env.Client.Service)
	b = appendText(b, tagHelo, env.Client.Helo)
	b = appendText(b, tagName, env.Client.Name)
	b = appendText(b, tagProto, env.Client.Proto)
	b = appendText(b, tagTLS, env.Client.TLS)
	return appendNumber(b, tagContent, uint64(env.Content))
}

// decodeHeader reads the header of an envelope record. It returns ErrNewer,
// wrapped, for a record of a newer version.
func decodeHeader(b []byte) (header, error) {
	if err := checkVersion(b); err != nil {
		return header{}, err
	}
	if len(b) < headerSize {
		return header{}, fmt.Errorf("envelope of %d octets: %w", len(b), errRecord)
	}
	h := header{
		inFile:     b[1]&bodyInFile != 0,
		proof:      b[1]&isProof != 0,
		origin:     mail.Origin(b[2]),
		recipients: int(binary.LittleEndian.Uint32(b[4:])),
		size:       int64(binary.LittleEndian.Uint64(b[8:])),
		arrived:    unstamp(int64(binary.LittleEndian.Uint64(b[16:]))),
		sum:        binary.LittleEndian.Uint32(b[24:]),
	}
	if h.size < 0 {
		return header{}, fmt.Errorf("envelope with a size of %d: %w", h.size, errRecord)
	}
	return h, nil
}

// decodeEnvelope reads what appendEnvelope wrote for the message id.
func decodeEnvelope(id mail.ID, b []byte) (*mail.Envelope, header, error) {
	h, err := decodeHeader(b)
	if err != nil {
		return nil, header{}, err
	}
	env := &mail.Envelope{ID: id, Arrived: h.arrived, Size: h.size, Origin: h.origin}
	// A recipient takes six octets at least: a record can't make us allocate
	// for more of them than it has room for.
	env.Recipients = make([]mail.Recipient, 0, min(h.recipients, len(b)/6))
	// One copy of the record holds the text of all its fields.
	f := fields{rest: string(b[headerSize:])}
	for f.next() {
		switch f.tag {
		case tagSender:
			r := f.recipient()
			env.Sender = r.Path
		case tagRecipient:
			env.Recipients = append(env.Recipients, f.recipient())
		case tagBody:
			env.Body = mail.Body(f.number())
		case tagSMTPUTF8:
			env.SMTPUTF8 = f.number() != 0
		case tagRequireTLS:
			env.RequireTLS = f.number() != 0
		case tagReturn:
			env.Return = mail.Return(f.number())
		case tagEnvID:
			env.EnvID = f.value
		case tagNoDSN:
			env.NoDSN = f.number() != 0
		case tagAddr:
			env.Client.Addr = f.addr()
		case tagService:
			env.Client.Service = f.addr()
		case tagHelo:
			env.Client.Helo = f.value
		case tagName:
			env.Client.Name = f.value
		case tagProto:
			env.Client.Proto = f.value
		case tagTLS:
			env.Client.TLS = f.value
		case tagContent:
			env.Content = mail.Content(f.number())
		}
	}
	if f.err == nil && len(env.Recipients) != h.recipients {
		f.err = fmt.Errorf("%d of %d recipients: %w", len(env.Recipients), h.recipients, errRecord)
	}
	if f.err != nil {
		return nil, header{}, fmt.Errorf("envelope %s: %w", id, f.err)
	}
	return env, h, nil
}

// appendState writes the record of st to b.
func appendState(b []byte, st *State) []byte {
	b = append(b, recordVersion)
	b = appendNumber(b, tagAttempts, uint64(max(st.Attempts, 0)))
	b = appendTime(b, tagDue, st.Due)
	b = appendTime(b, tagLastTry, st.LastTry)
	b = appendNumber(b, tagWaited, uint64(max(st.Waited, 0)))
	b = appendBool(b, tagHeld, st.Held)
	b = appendText(b, tagHoldReason, clip(st.HoldReason, MaxLast))
	b = appendBool(b, tagDelayNoticed, st.DelayNoticed)
	if st.Recipients == nil {
		return b
	}
	b = appendGroup(b, tagStates, uvarintSize(uint64(len(st.Recipients))))
	b = binary.AppendUvarint(b, uint64(len(st.Recipients)))
	for i := range st.Recipients {
		r := &st.Recipients[i]
		last := clip(r.Last, MaxLast)
		b = appendGroup(b, tagState, numberSize(tagStatus, uint64(r.Status))+textSize(tagLast, last)+timeSize(tagAt, r.At))
		b = appendNumber(b, tagStatus, uint64(r.Status))
		b = appendText(b, tagLast, last)
		b = appendTime(b, tagAt, r.At)
	}
	return b
}

// decodeState reads what appendState wrote.
func decodeState(b []byte) (State, error) {
	if err := checkVersion(b); err != nil {
		return State{}, err
	}
	var st State
	var want uint64
	f := fields{rest: string(b[1:])}
	for f.next() {
		switch f.tag {
		case tagAttempts:
			st.Attempts = int(f.number() & math.MaxInt32)
		case tagDue:
			st.Due = f.time()
		case tagLastTry:
			st.LastTry = f.time()
		case tagWaited:
			st.Waited = time.Duration(f.number() & math.MaxInt64)
		case tagHeld:
			st.Held = f.number() != 0
		case tagHoldReason:
			st.HoldReason = f.value
		case tagDelayNoticed:
			st.DelayNoticed = f.number() != 0
		case tagStates:
			want = f.number()
			st.Recipients = make([]RecipientState, 0, min(want, uint64(len(b)/2)))
		case tagState:
			st.Recipients = append(st.Recipients, f.recipientState())
		}
	}
	if f.err == nil && uint64(len(st.Recipients)) != want {
		f.err = fmt.Errorf("%d of %d recipients: %w", len(st.Recipients), want, errRecord)
	}
	if f.err != nil {
		return State{}, fmt.Errorf("state: %w", f.err)
	}
	return st, nil
}

func checkVersion(b []byte) error {
	switch {
	case len(b) == 0 || b[0] == 0:
		return fmt.Errorf("no version: %w", errRecord)
	case b[0] > recordVersion:
		return fmt.Errorf("record of version %d: %w", b[0], ErrNewer)
	}
	return nil
}
