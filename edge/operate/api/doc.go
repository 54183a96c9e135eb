// Package api holds the types and errors that programs exchange over a node's sockets: only the
// JSON of the control sockets. It does no I/O.
//
// What happens to the data: a program fills a type here, package control writes it as JSON on a
// socket and reads it back on the other side, and package words turns it into text for people.
package api
