//go:build race

package spool

// racing says that the race detector slows everything down.
const racing = true
