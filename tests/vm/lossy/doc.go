// Package lossy is a disk that forgets, for tests that cut the power. A killed
// QEMU loses nothing that its guest has written, because the host's page cache has
// it; a real disk has a write-back cache, and loses what was not flushed.
//
// What happens to the data:
//
//  1. New copies an image into a file of its own: the platter (clone.go).
//  2. A guest's writes go into that file at once, and what they wrote over is
//     remembered, in order, until a flush has followed (disk.go). They are the
//     writes that are in the cache of the drive.
//  3. Server gives the disk to QEMU over the NBD protocol, on a unix socket
//     (server.go, protocol.go).
//  4. PowerCut takes back the writes in the cache and makes some of them again:
//     whole, in part, or not at all, as a seed decides (cut.go). The next machine
//     starts from what is left.
package lossy
