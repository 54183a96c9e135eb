// Package console is the prompt that an appliance shows on its screen and on its serial line
// instead of a login. There is no shell: a line is split into words, and the words are one of the
// commands that its owner provides.
//
// What happens to the data:
//
//  1. Keys come from the terminal, which is in raw mode while the console runs, or
//     line by line from a pipe. Whatever is not a key (noise on a serial line, escape
//     sequences without an end, invalid UTF-8) is dropped before anything else sees it
//     (sieve.go), and unread input is bounded (keys.go).
//  2. Before the prompt comes a banner: which node this is, where it can be reached
//     and how it is. It is made from a few small files and one request to each socket,
//     with short timeouts, so that a node that hangs delays nothing (facts.go,
//     banner.go). It is drawn again when the node has become ready, until the first
//     key.
//  3. A line is edited, bounded and split (words.go). It is passed to Console.Do,
//     together with the Session that it may read from and write to. Ctrl-C ends
//     the context of that command, and nothing else.
//  4. The output of a command gets the line ends of a terminal in raw mode
//     (terminal.go) and, on a screen, stops after each page (pager.go).
//
// A Session ends by Ctrl-D, by a command, or when no key came for long enough; then the next one
// begins with its banner, without any state of the previous one.
package console
