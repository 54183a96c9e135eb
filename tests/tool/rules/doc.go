// Package rules holds the tree to what docs/architecture.md says of it: who
// imports whom, which rooms are pure, which rooms know the errors of the control
// sockets, how small a main is, what is documented, what things are called,
// which words are used, how long functions and files are, and what lies where.
//
// What happens to the data: Read parses every Go file below a directory, of
// all build tags, and lists the other files; each rule looks at that Tree and
// returns what it finds, with file and line. The rules are tables where they
// can be. The table of imports is exact: a room or an import that it lacks is a
// finding, and so is a row or an import that it lists and the tree lacks.
package rules
