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

// Stamp distinguishes versions of a file. The zero Stamp means that there is no file.
type Stamp struct {
	changed int64 // ns; last change of its content, owner or mode
	size    int64
	inode   uint64
}

// StampOf returns the stamp of a file.
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
