// Package mail is not described by its tests.
package mail

func Undocumented() {}
