package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// This file is pure: it reads the engine's log and manifest chunk by chunk, as Pebble's package
// record describes them, and distinguishes a torn end from damage. Pebble treats an unreadable
// chunk as the end of the file unless a later block proves otherwise, so damage in the last 32 KiB
// of a log, and anywhere in a manifest, would silently drop what follows.
//
// Three facts prove damage. A record that begins after the unreadable chunk: the committer syncs
// each record before it writes the next, so everything before it was on stable storage. A chunk
// with a sync offset beyond the unreadable one: Pebble's own record of a sync. And a chunk that is
// valid once a single bit is flipped: torn writes don't look like that. A last record that is
// damaged in more than one bit can't be distinguished from a torn write.

// Sizes of chunks.
const (
	auditBlock     = 32 << 10
	legacyHeader   = 7  // checksum, length, type
	recycledHeader = 11 // and the number of the log
	syncHeader     = 19 // and the offset that was synced
	minBatch       = 12 // bytes of a batch's header, with which each record of a log begins
)

// chunkPart says which part of a record a chunk is.
type chunkPart uint8

const (
	noPart chunkPart = iota
	fullPart
	firstPart
	middlePart
	lastPart
)

// chunk is one chunk that was read.
type chunk struct {
	part    chunkPart
	payload []byte
	end     int
	synced  uint64 // offset that the chunk says was on stable storage when it was written; 0: none
}

// chunkState is what was found at an offset.
type chunkState uint8

const (
	chunkGood    chunkState = iota
	chunkPadding            // zeros up to the end of the block
	chunkNone               // zeros, or the end of the file
	chunkTrailer            // the log was closed here
	chunkBad
)

// damage is a damaged place in a file.
type damage struct {
	offset   int
	repaired bool // one known bit was wrong
	why      string
}

// audit is the result of reading one log or manifest.
type audit struct {
	records int
	damages []damage
	torn    bool // the last record is incomplete, as after a crash
	closed  bool // the end is marked
	end     int  // of the readable part
}

// auditLog reads a log, given the low 32 bits of its number, and calls yield with each readable
// record, also those after damage. It repairs single bits in data.
func auditLog(data []byte, number uint32, yield func(record []byte)) audit {
	return (&auditor{data: data, number: number, log: true}).run(yield)
}

// auditManifest reads a manifest.
func auditManifest(data []byte) audit {
	return (&auditor{data: data}).run(func([]byte) {})
}

type auditor struct {
	data   []byte
	number uint32
	log    bool
}

// run reads the whole file.
func (a *auditor) run(yield func(record []byte)) (found audit) {
	var record []byte // the current one; nil: none
	at := 0
	for {
		c, state := a.at(at)
		begins := c.part == fullPart || c.part == firstPart
		if state == chunkGood && begins && record != nil {
			found.damages = append(found.damages, damage{offset: at, why: "the record before it has no end"})
			record = nil
		}
		switch state {
		case chunkPadding:
			at = c.end
			continue
		case chunkGood:
			if begins {
				record = []byte{}
			} else if record == nil {
				state = chunkBad // a part without a first part
				break
			}
			record = append(record, c.payload...)
			at, found.end = c.end, c.end
			if c.part == fullPart || c.part == lastPart {
				found.records++
				yield(record)
				record = nil
			}
			continue
		case chunkBad:
			if what, ok := a.repair(at); ok {
				found.damages = append(found.damages, damage{offset: at, repaired: true, why: what})
				continue
			}
		}
		if next, why := a.after(at); next > 0 {
			found.damages = append(found.damages, damage{offset: at, why: why})
			record, at = nil, next
			continue
		}
		found.torn = state == chunkBad || record != nil
		found.closed = state == chunkTrailer && record == nil
		return found
	}
}

// header returns the part and the size of the header for a chunk type; noPart if the type is
// unknown.
func (a *auditor) header(kind byte) (part chunkPart, size int) {
	switch {
	case !a.log && kind >= 1 && kind <= 4:
		return chunkPart(kind), legacyHeader
	case a.log && kind >= 5 && kind <= 8:
		return chunkPart(kind - 4), recycledHeader
	case a.log && kind >= 9 && kind <= 12:
		return chunkPart(kind - 8), syncHeader
	}
	return noPart, 0
}

// blockEnd returns the end of the block of an offset.
func (a *auditor) blockEnd(at int) int { return min((at/auditBlock+1)*auditBlock, len(a.data)) }

// at reads the chunk at an offset.
func (a *auditor) at(at int) (c chunk, state chunkState) {
	end := a.blockEnd(at)
	if at+legacyHeader > end {
		if end == len(a.data) {
			return c, chunkNone
		}
		return chunk{end: end}, chunkPadding
	}
	b := a.data[at:end]
	sum, length, kind := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint16(b[4:])), b[6]
	if sum == 0 && length == 0 && kind == 0 {
		if len(b) < syncHeader && len(bytes.Trim(b, "\x00")) == 0 && end < len(a.data) {
			return chunk{end: end}, chunkPadding
		}
		return c, chunkNone
	}
	part, header := a.header(kind)
	switch {
	case part == noPart || header > len(b):
		return c, chunkBad
	case a.log && sum == 0 && length == 0 && kind == 5 && binary.LittleEndian.Uint32(b[7:]) == a.number+1:
		return c, chunkTrailer
	case a.log && binary.LittleEndian.Uint32(b[7:]) != a.number:
		return c, chunkBad
	case header+length > len(b) || maskSum(crc32.Checksum(b[6:header+length], castagnoli)) != sum:
		return c, chunkBad
	}
	c = chunk{part: part, payload: b[header : header+length], end: at + header + length}
	if header == syncHeader {
		c.synced = binary.LittleEndian.Uint64(b[11:])
	}
	return c, chunkGood
}

// maxSearch bounds how far a manifest is searched for a chunk. Those of a log carry its number,
// which is quickly found or not.
const maxSearch = 1 << 20

// after returns the start of the next record which proves that the data at an offset was on stable
// storage, or 0. Mail can't forge one: a log's number has a zero byte, which no message has.
func (a *auditor) after(at int) (next int, why string) {
	var number [4]byte
	binary.LittleEndian.PutUint32(number[:], a.number)
	promised := false
	for p := at + 1; p+legacyHeader <= len(a.data) && (a.log || p-at < maxSearch); p++ {
		if a.log {
			i := bytes.Index(a.data[p+min(legacyHeader, len(a.data)-p):], number[:])
			if i < 0 {
				break
			}
			p += i
		}
		c, state := a.at(p)
		if state != chunkGood {
			continue
		}
		promised = promised || c.synced > uint64(at)
		if begins := c.part == fullPart || c.part == firstPart; begins && (!a.log || len(c.payload) >= minBatch) {
			return p, fmt.Sprintf("it is unreadable, and a record follows it at offset %d", p)
		}
	}
	if promised {
		return len(a.data), "it is unreadable, and was on stable storage when what follows it was written"
	}
	return 0, ""
}

// repair flips one bit if that makes the chunk at an offset valid.
func (a *auditor) repair(at int) (what string, ok bool) {
	b := a.data[at:a.blockEnd(at)]
	// Bits of checksum, length and type: try each.
	for bit := range min(legacyHeader, len(b)) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if _, state := a.at(at); state == chunkGood {
			return bitText(at, bit), true
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	// The checksum covers the other bits and is linear: each bit changes it in a unique way.
	if len(b) < legacyHeader {
		return "", false
	}
	length := int(binary.LittleEndian.Uint16(b[4:]))
	part, header := a.header(b[6])
	if part == noPart || header+length > len(b) {
		return "", false
	}
	covered := b[6 : header+length]
	want := unmaskSum(binary.LittleEndian.Uint32(b))
	syndrome := want ^ crc32.Checksum(covered, castagnoli)
	bit, ok := flippedBit(syndrome, len(covered))
	if !ok {
		return "", false
	}
	covered[bit/8] ^= 1 << (bit % 8)
	if _, state := a.at(at); state == chunkGood {
		return bitText(at, 6*8+bit), true
	}
	covered[bit/8] ^= 1 << (bit % 8)
	return "", false
}

func bitText(at, bit int) string {
	return fmt.Sprintf("one bit is wrong, bit %d of the byte at offset %d", bit%8, at+bit/8)
}

// flippedBit finds the one bit of size bytes that changes their CRC-32C by syndrome. It goes from
// the last byte to the first: each following byte changes the effect of a byte's bits on the sum.
func flippedBit(syndrome uint32, size int) (bit int, ok bool) {
	if syndrome == 0 {
		return 0, false
	}
	var effect [8]uint32 // of each bit of the byte
	for i := range effect {
		effect[i] = castagnoli[1<<i]
	}
	for at := size - 1; at >= 0; at-- {
		for i := range effect {
			if effect[i] == syndrome {
				return at*8 + i, true
			}
			effect[i] = castagnoli[byte(effect[i])] ^ effect[i]>>8
		}
	}
	return 0, false
}

// maskSum returns a checksum in the form that chunks store.
func maskSum(sum uint32) uint32 { return bits.RotateLeft32(sum, 17) + 0xa282ead8 }

func unmaskSum(sum uint32) uint32 { return bits.RotateLeft32(sum-0xa282ead8, -17) }
