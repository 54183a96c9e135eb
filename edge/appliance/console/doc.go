// Package console is the prompt that an appliance shows on its screen and on its
// serial line in place of a login. There is no shell behind it: a line is split
// into words, and the words are one of the commands that its owner gave it.
//
// What happens to the data:
//
//  1. Keys come from the terminal, which stands in raw mode for as long as the
//     console runs, or line by line from a pipe. What is no key (noise on a serial
//     line, escape sequences without an end, octets that are no UTF-8) is dropped
//     before anything else sees it (sieve.go), and what nobody reads is bounded
//     (keys.go).
//  2. Before the prompt stands a banner: who this node is, where it can be reached
//     and how it does. It is made from a few small files and one question to each
//     socket, with short limits, so that a node which hangs holds up nothing
//     (facts.go, banner.go). It is drawn again when the node has become ready, as
//     long as nobody has typed.
//  3. A line is edited, bounded and split (words.go). It is handed to Options.Run,
//     together with the Session that it may read from and write to. Ctrl-C ends
//     the context of that run, and nothing else.
//  4. What a command writes gets the line ends of a terminal in raw mode
//     (terminal.go) and, on a screen, stops after each page (pager.go).
//
// A Session ends by Ctrl-D, by a command that says so, or when no key came for
// long enough; then the next one begins with its banner, and remembers nothing of
// the one before.
package console
