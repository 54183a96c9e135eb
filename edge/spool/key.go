package spool

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"anymx/edge/mail"
)

// Kinds of keys. After the kind comes the message's ID.
const (
	keyBody     = 'b'
	keyEnvelope = 'e'
	keyGone     = 'g' // a removed message whose body file may still exist; deleted once the file's removal is on stable storage
	keyLeg      = 'l' // with the number of the leg after the ID
	keyProbe    = 'p'
	keyState    = 's'
)

// keySize is the size of all keys.
const keySize = 1 + len(mail.ID{})

// key returns the key of one kind for one message.
func key(kind byte, id mail.ID) (k [keySize]byte) {
	k[0] = kind
	copy(k[1:], id[:])
	return k
}

// legKeySize is the size of the keys of legs.
const legKeySize = keySize + 2

// legKey returns the key of a leg.
func legKey(id mail.ID, leg int) (k [legKeySize]byte) {
	k[0] = keyLeg
	copy(k[1:], id[:])
	binary.BigEndian.PutUint16(k[keySize:], uint16(leg))
	return k
}

// legOf returns the number of the leg that a key belongs to; 0 for other keys.
func legOf(k []byte) int {
	if len(k) != legKeySize || k[0] != keyLeg {
		return 0
	}
	return int(binary.BigEndian.Uint16(k[keySize:]))
}

// idOf returns the message that a key belongs to.
func idOf(k []byte) (id mail.ID, ok bool) {
	if len(k) != keySize && (len(k) != legKeySize || k[0] != keyLeg) {
		return id, false
	}
	copy(id[:], k[1:])
	return id, true
}

// set adds a key and its value to b without a copy in between.
func set(b *pebble.Batch, kind byte, id mail.ID, value []byte) {
	d := b.SetDeferred(keySize, len(value))
	d.Key[0] = kind
	copy(d.Key[1:], id[:])
	copy(d.Value, value)
	_ = d.Finish() // never fails on a batch without an index
}
