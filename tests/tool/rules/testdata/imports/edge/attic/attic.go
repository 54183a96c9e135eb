// Package attic is in nobody's table.
package attic
