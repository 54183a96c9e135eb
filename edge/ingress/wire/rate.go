package wire

import "time"

// window is the time over which the rate of a message is measured.
const window = time.Minute

// rate measures how fast a message comes in, over the last window of the time that we waited for the
// client: how slowly we store is not its fault. The zero rate has seen nothing.
type rate struct {
	waited  time.Duration
	buckets [7]bucket // the newest first; six cover the window, and the seventh leaves it
}

// bucket counts what came in a sixth of the window, or less.
type bucket struct {
	began time.Duration // in waited time
	last  time.Duration // when the last of them came
	bytes int64
}

// add counts bytes for which we waited.
func (r *rate) add(wait time.Duration, bytes int64) {
	r.waited += wait
	if r.waited-r.buckets[0].began > window/6 {
		copy(r.buckets[1:], r.buckets[:])
		r.buckets[0] = bucket{began: r.waited}
	}
	r.buckets[0].last = r.waited
	r.buckets[0].bytes += bytes
}

// patience returns how long the client may stay silent now until it is slower than least, in bytes a
// second. At the beginning of a message it may be slower for as long as grace. It may be negative.
func (r *rate) patience(least int64, grace time.Duration) time.Duration {
	var sum int64
	for _, b := range r.buckets {
		sum += b.bytes
	}
	// Until the window is full, what came must be worth the time that passed.
	if end := worth(sum, least); end < window {
		return max(end, grace) - r.waited
	}
	// After that it must be worth the window, from which the oldest drop out one by one.
	for i := len(r.buckets) - 1; i > 0; i-- {
		b := r.buckets[i]
		if sum -= b.bytes; b.bytes > 0 && worth(sum, least) < window {
			return max(b.last+window, grace) - r.waited
		}
	}
	return max(r.waited+window, grace) - r.waited
}

// worth is the time in which bytes come at a rate of least.
func worth(bytes, least int64) time.Duration {
	const years = 1e9 // seconds, which a Duration can still hold
	return time.Duration(min(float64(bytes)/float64(least), years) * float64(time.Second))
}
