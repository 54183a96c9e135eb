package kit

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Bubble runs f in a bubble with a clock of its own, as synctest.Test does, for code that keeps channels in
// a sync.Pool: a channel that was made in a bubble must not be used outside of it, nor one from outside in
// it.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	emptyPools()
	defer emptyPools()
	synctest.Test(t, f)
}

// emptyPools takes two collections: the first keeps what it finds for one more.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}
