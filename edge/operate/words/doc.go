// Package words turns the types of package api into text for people: tables and lines with relative
// times and units, for the command line, the console and the status page. It is pure.
//
// What happens to the data: text that comes from outside, such as senders, HELO names and replies,
// passes through Clean, so that a terminal interprets none of it. A Line says whether it reports
// something wrong.
package words
