package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"anymx/edge/mail"
)

// This file is pure: it encodes and decodes the engine's records of envelopes and States.
//
// Both records start with one version byte, which only changes when older readers would misread the
// record. In an envelope record it is followed by a header of fixed size, so that a million of them
// can be scanned without reading the rest, and then by fields: tag, length (both unsigned varints),
// value. A reader skips unknown tags, so a field can be added without a new version. Numbers are
// unsigned varints, or little-endian if the size is fixed. Fields with their zero value are
// omitted.
//
// A program older than tagFront and tagCuts reads a record with them as the message that the client
// sent, and handles it like those that it received itself, except that our Received is missing. So
// they need no new version, and a rollback doesn't have to refuse the spool. The counts of bytes in
// the store are those of bodies for the same reason: an older program compares them.
//
// The records have no checksum of their own: the engine verifies each block that it reads and each
// record of its log.

// recordVersion is the version of new records. A record with a greater one was written by a newer
// program.
const recordVersion = 1

// headerSize is the size of an envelope record's header:
//
//	0      version
//	1      flags
//	2      origin
//	3      zero
//	4:8    number of recipients
//
// 8:16 size of the body in bytes
//
//	16:24  arrival, in nanoseconds since 1970
//	24:28  CRC-32C of a body that has a file of its own
const headerSize = 28

// Flags of a header.
const (
	bodyInFile = 1 // the body is a file
	isSelfTest = 2 // the message is a self-test
	hasLegs    = 4 // it was committed with records of its legs
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
	tagContent    = 15 // absent in records of older programs
	tagDelivered  = 16 // bytes that are delivered; the first field, absent if they are as many as the body has
	tagFront      = 17
	tagCuts       = 18 // for each the bytes since the last one, and its length
	tagTag        = 19 // one for each, in order
	tagRoute      = 20
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
	tagLastAttempt  = 3
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

// errRecord is wrapped by the decoders' errors for malformed records.
var errRecord = errors.New("malformed record")

// header is the fixed part of an envelope record, which recovery reads.
type header struct {
	inFile     bool
	selfTest   bool
	legs       bool // committed with records of legs
	origin     mail.Origin
	recipients int
	size       int64 // of the stored body
	delivered  int64 // bytes of front + body - cuts
	arrived    time.Time
	sum        uint32 // of the body, if inFile
}

// appendEnvelope appends the record of env to b. h says where the body is, and whether the message
// is a self-test. The ID is the record's key and is not written.
func appendEnvelope(b []byte, env *mail.Envelope, h header) []byte {
	var fixed [headerSize]byte
	fixed[0] = recordVersion
	if h.inFile {
		fixed[1] |= bodyInFile
	}
	if h.selfTest {
		fixed[1] |= isSelfTest
	}
	if h.legs {
		fixed[1] |= hasLegs
	}
	fixed[2] = byte(env.Origin)
	binary.LittleEndian.PutUint32(fixed[4:], uint32(len(env.Recipients)))
	body := env.BodySize()
	binary.LittleEndian.PutUint64(fixed[8:], uint64(body))
	binary.LittleEndian.PutUint64(fixed[16:], uint64(stamp(env.Arrived)))
	binary.LittleEndian.PutUint32(fixed[24:], h.sum)
	b = append(b, fixed[:]...)
	if env.Size != body {
		b = appendGroup(b, tagDelivered, uvarintSize(uint64(env.Size)))
		b = binary.AppendUvarint(b, uint64(env.Size))
	}
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
	b = appendNumber(b, tagContent, uint64(env.Content))
	return appendParts(b, env)
}

// decodeHeader reads the header of an envelope record. It returns ErrNewer,
// wrapped, for a record of a newer version.
func decodeHeader(b []byte) (header, error) {
	if err := checkVersion(b); err != nil {
		return header{}, err
	}
	if len(b) < headerSize {
		return header{}, fmt.Errorf("envelope of %d bytes: %w", len(b), errRecord)
	}
	h := header{
		inFile:     b[1]&bodyInFile != 0,
		selfTest:   b[1]&isSelfTest != 0,
		legs:       b[1]&hasLegs != 0,
		origin:     mail.Origin(b[2]),
		recipients: int(binary.LittleEndian.Uint32(b[4:])),
		size:       int64(binary.LittleEndian.Uint64(b[8:])),
		arrived:    unstamp(int64(binary.LittleEndian.Uint64(b[16:]))),
		sum:        binary.LittleEndian.Uint32(b[24:]),
	}
	h.delivered = h.size
	if tag, value, _, ok := cutField(b[headerSize:]); ok && tag == tagDelivered {
		n, size := binary.Uvarint(value)
		if size != len(value) {
			return header{}, fmt.Errorf("envelope: size in %d bytes: %w", len(value), errRecord)
		}
		h.delivered = int64(n)
	}
	if h.size < 0 || h.delivered < 0 {
		return header{}, fmt.Errorf("envelope with sizes of %d and %d: %w", h.size, h.delivered, errRecord)
	}
	return h, nil
}

// decodeEnvelope reads what appendEnvelope wrote for the message id.
func decodeEnvelope(id mail.ID, b []byte) (*mail.Envelope, header, error) {
	h, err := decodeHeader(b)
	if err != nil {
		return nil, header{}, err
	}
	env := &mail.Envelope{ID: id, Arrived: h.arrived, Origin: h.origin}
	// A recipient needs at least six bytes: a record can't make us allocate for more of them than
	// it can hold.
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
		default:
			f.part(env)
		}
	}
	if f.err == nil && len(env.Recipients) != h.recipients {
		f.err = fmt.Errorf("%d of %d recipients: %w", len(env.Recipients), h.recipients, errRecord)
	}
	if f.err == nil {
		f.err = checkParts(env, &h)
	}
	if f.err != nil {
		return nil, header{}, fmt.Errorf("envelope %s: %w", id, f.err)
	}
	return env, h, nil
}

// appendState appends the record of st to b.
func appendState(b []byte, st *State) []byte {
	b = append(b, recordVersion)
	b = appendNumber(b, tagAttempts, uint64(max(st.Attempts, 0)))
	b = appendTime(b, tagDue, st.Due)
	b = appendTime(b, tagLastAttempt, st.LastAttempt)
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
		case tagLastAttempt:
			st.LastAttempt = f.time()
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
