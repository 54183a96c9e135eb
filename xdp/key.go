package xdp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// epochs says which two keys are valid at now: the number of the epoch whose
// key makes cookies, and of the other one whose cookies are accepted. That is
// the one before in the first half of an epoch, and the one after in the
// second: so no cookie dies before half an epoch has passed, and a node whose
// clock is ahead by less than that is understood. Each has its own slot,
// its number's low bit.
func epochs(now time.Time, length time.Duration) (current, other uint64) {
	n := uint64(now.UnixNano())
	current = n / uint64(length)
	if n%uint64(length) < uint64(length)/2 {
		return current, current - 1
	}
	return current, current + 1
}

// derive makes an epoch's key from the secret that nodes share: the
// first half of an HMAC-SHA256.
func derive(secret []byte, epoch uint64) [2]uint64 {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("anymx shield cookie"))
	mac.Write(binary.BigEndian.AppendUint64(nil, epoch))
	sum := mac.Sum(nil)
	return [2]uint64{binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])}
}

// ring is what the keys map holds at now.
func ring(secret []byte, now time.Time, length time.Duration) (keys bpfKeys) {
	current, other := epochs(now, length)
	keys.Current = uint32(current & 1)
	for _, epoch := range []uint64{current, other} {
		keys.Slots[epoch&1] = derive(secret, epoch)
	}
	return keys
}

// rotate writes the keys of this moment, if they are not those in the map.
// Caller holds s.mu.
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
