// Package wire has good and bad names.
package wire

type connectionManager struct{}

// Helper is a name.
type Helper struct{}

// BaseConn is a name.
type BaseConn struct{}

type Managed struct{} // a word of its own

type Database struct{} // not the word base
