package network

import (
	"fmt"

	"anymx/edge/service"
)

// maxPrefixFile bounds a list, in bytes. 200,000 prefixes with a comment each need less.
const maxPrefixFile = 64 << 20

// prefixFile is a list from the last valid version of its file.
type prefixFile struct {
	key, path string        // of the config; no path: no list
	seen      service.Stamp // of what was last read, valid or not
	list      prefixes
	good      bool  // it was read successfully before
	problem   error // what is wrong with the file now
}

// look reads the file if it has changed, and returns its list. fresh is false if there is no new
// one: nothing changed, or the file is invalid.
func (f *prefixFile) look() (list prefixes, fresh bool) {
	if f.path == "" {
		return prefixes{}, !f.good
	}
	now := service.StampOf(f.path)
	if now == f.seen && now != (service.Stamp{}) {
		return nil, false
	}
	text, err := service.ReadFile(f.path, maxPrefixFile)
	if err != nil { // the error may differ next time with the same stamp
		f.seen, f.problem = service.Stamp{}, fmt.Errorf("%s: %w", f.key, err)
		return nil, false
	}
	f.seen = now
	list, err = parsePrefixes(f.path, text)
	if err != nil {
		f.problem = fmt.Errorf("%s: %w", f.key, err)
		return nil, false
	}
	return list, true
}

// refuse discards what was read if err is not nil, so that it is read again.
func (f *prefixFile) refuse(err error) {
	if err != nil {
		f.seen, f.problem = service.Stamp{}, err
	}
}
