// Package rules holds the tree to what docs/architecture.md says of it: who
// imports whom, which rooms are pure, how small a main is, what is documented,
// what things are called, and what lies where.
//
// What happens to the data: Read parses every Go file below a directory, of
// all build tags, and lists the other files; each rule looks at that Tree and
// returns what it finds, with file and line. The rules are tables where they
// can be. A room that the table of imports does not know is a finding, so that
// a new room is given its place in the order before anything is built on it.
package rules
