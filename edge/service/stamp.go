package service

import (
	"os"
	"syscall"
	"time"
)

// WatchEvery is how often programs check their files. A check is one stat for each
// file: it needs no notification that a bind mount, a symbolic link or a
// network file system would not send.
const WatchEvery = 2 * time.Second

// Stamp tells one version of a file from another. The zero Stamp is "not there".
type Stamp struct {
	changed int64 // ns: its content, owner or mode
	size    int64
	inode   uint64
}

// StampOf looks at a file.
func StampOf(path string) Stamp {
	info, err := os.Stat(path)
	if err != nil {
		return Stamp{}
	}
	s := Stamp{changed: info.ModTime().UnixNano(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.changed = sys.Ino, sys.Ctim.Nano()
	}
	return s
}
