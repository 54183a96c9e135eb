// Package rules has tests only, and says here what it is.
package rules
