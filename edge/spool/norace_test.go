//go:build !race

package spool

const racing = false
