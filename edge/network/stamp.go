package network

import (
	"os"
	"syscall"
	"time"
)

// watchEvery is how often files are looked at, by one stat for each.
const watchEvery = 2 * time.Second

// stamp tells one version of a file from another. The zero stamp is "not there".
type stamp struct {
	changed int64 // ns: its content, owner or mode
	size    int64
	inode   uint64
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	s := stamp{changed: info.ModTime().UnixNano(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.changed = sys.Ino, sys.Ctim.Nano()
	}
	return s
}
