// Package budget bounds what many users of one resource hold together, such as the memory of all
// transactions.
//
// What happens to the data: none passes through here. Whoever is about to hold more takes bytes
// first, and gives them back when it lets go. The package is pure: it counts.
package budget

import "sync/atomic"

// Budget is a number of bytes that may be held at once. It is safe for use by many goroutines. The
// zero Budget has no limit, and a nil one counts nothing either.
type Budget struct {
	limit   int64 // 0: no limit
	used    atomic.Int64
	refused atomic.Int64
}

// New returns a budget of limit bytes. 0 or less: no limit.
func New(limit int64) *Budget { return &Budget{limit: max(limit, 0)} }

// Share is the part of a budget, in percent, that a request may fill. While the budget is nearly used
// up, what can be refused with little harm leaves room for what can't.
type Share int64

// The values of Share.
const (
	Ample Share = 50  // for what has another way, such as a file
	Large Share = 75  // for one who holds much already
	Whole Share = 100 // for the first bytes of anybody
)

// TakeBytes counts n more bytes. It returns false, and counts nothing, if more than the share of the budget
// would be held then.
func (b *Budget) TakeBytes(n int64, up Share) bool {
	if b == nil {
		return true
	}
	if used := b.used.Add(n); b.limit > 0 && used > b.limit*int64(up)/100 {
		b.used.Add(-n)
		if up != Ample {
			b.refused.Add(1)
		}
		return false
	}
	return true
}

// GiveBytes counts n bytes less.
func (b *Budget) GiveBytes(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}

// Used returns how many bytes are held.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Limit returns how many bytes may be held; 0 for no limit.
func (b *Budget) Limit() int64 {
	if b == nil {
		return 0
	}
	return b.limit
}

// Refused returns how often TakeBytes returned false, those for Ample apart.
func (b *Budget) Refused() int64 {
	if b == nil {
		return 0
	}
	return b.refused.Load()
}
