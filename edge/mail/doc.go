// Package mail holds the types that all other packages share: a Path names a mailbox, an Envelope
// holds the sender, the recipients and the client of a message, a Reply is what an SMTP server
// answers, a Failure is why a recipient could not be delivered, a Result is the outcome of one
// attempt for one recipient.
//
// What happens to the data: ParsePath and CutPath turn bytes of a command into a Path. They are
// never written out as they came, only by Path.String, which has one spelling for each mailbox.
// Trace fields, Authentication-Results and delivery status notifications are written here from
// these values.
//
// The package does no I/O, reads no clock and starts no goroutine.
package mail
