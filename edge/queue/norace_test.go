//go:build !race

package queue

const racing = false
