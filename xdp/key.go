package xdp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// epochs returns the two keys that are valid at now: the number of the epoch whose key creates
// cookies, and that of the other one whose cookies are accepted. The other one is the previous
// epoch in the first half of an epoch, and the next one in the second half. So every cookie is
// valid for at least half an epoch, and a node's clock may be ahead by less than that. Each epoch
// uses the slot given by the low bit of its number.
func epochs(now time.Time, length time.Duration) (current, other uint64) {
	n := uint64(now.UnixNano())
	current = n / uint64(length)
	if n%uint64(length) < uint64(length)/2 {
		return current, current - 1
	}
	return current, current + 1
}

// derive returns an epoch's key from the shared secret: the first half of an HMAC-SHA256.
func derive(secret []byte, epoch uint64) [2]uint64 {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("anymx shield cookie"))
	mac.Write(binary.BigEndian.AppendUint64(nil, epoch))
	sum := mac.Sum(nil)
	return [2]uint64{binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])}
}

// ring returns the content of the keys map at now.
func ring(secret []byte, now time.Time, length time.Duration) (keys bpfKeys) {
	current, other := epochs(now, length)
	keys.Current = uint32(current & 1)
	for _, epoch := range []uint64{current, other} {
		keys.Slots[epoch&1] = derive(secret, epoch)
	}
	return keys
}

// rotate writes the keys valid at now, unless the map has them. The caller holds s.mu.
func (s *Shield) rotate(now time.Time) error {
	have, err := only[bpfKeys](s.maps.Keys)
	if err != nil {
		return err
	}
	own := have.Secret
	if own == [32]uint8{} {
		rand.Read(own[:])
	}
	secret, length := s.settings.Key, s.settings.filled().Epoch
	if len(secret) == 0 {
		secret = own[:]
	}
	want := ring(secret, now, length)
	want.Secret = own
	s.epoch, _ = epochs(now, length)
	if want == have {
		return nil
	}
	return s.maps.Keys.Put(first, want)
}
