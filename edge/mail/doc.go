// Package mail holds the vocabulary that every other room speaks: a Path names
// a mailbox, an Envelope says who wrote to whom and how they came to us, a
// Reply is what an SMTP server says, a Failure is why a recipient could not be
// served, a Result is the end of one try for one recipient.
//
// What happens to the data: bytes from a command become a Path by ParsePath or
// CutPath and are never written out again as they came, only through
// Path.String, which has one spelling for each mailbox. Trace fields,
// Authentication-Results and delivery status notifications are written here
// from those values.
//
// The package does no I/O, reads no clock and starts no goroutine.
package mail
