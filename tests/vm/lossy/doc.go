// Package lossy is a disk that loses unflushed writes, for tests that cut the power. Killing QEMU
// loses nothing that its guest has written, because it is in the host's page cache; a real disk has
// a write-back cache and loses what was not flushed.
//
// What happens to the data:
//
//  1. New copies an image into a new file, the platter (clone.go).
//  2. A guest's writes go into that file at once. The data that they overwrite is remembered, in
//     order, until the next flush (disk.go). These writes are the ones in the drive's cache.
//  3. Server exports the disk to QEMU over the NBD protocol, on a unix socket (server.go,
//     protocol.go).
//  4. PowerCut reverts the writes in the cache and repeats some of them: completely, in part, or
//     not at all, as a seed decides (cut.go). The next machine starts from the result.
package lossy
