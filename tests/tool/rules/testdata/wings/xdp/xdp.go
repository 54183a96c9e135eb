// Package xdp has a row, but no wing.
package xdp
