//go:build race

package queue

// racing says that the race detector slows everything down.
const racing = true
