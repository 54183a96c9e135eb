// Package kit is what the tests of all rooms share.
package kit
