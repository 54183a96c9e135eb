package network

import (
	"fmt"

	"anymx/edge/service"
)

// maxPrefixFile bounds a list, in octets. 200,000 prefixes with a comment each
// need less.
const maxPrefixFile = 64 << 20

// prefixFile is a list as it was when its file was last good.
type prefixFile struct {
	key, path string        // of the config; no path: there is no list
	seen      service.Stamp // of what was last read, good or bad
	list      prefixes
	good      bool  // it was read, at some time
	problem   error // what is wrong with the file now
}

// look reads the file if it is not what it was, and returns the list that stands
// in it then. fresh is false if there is none: nothing changed, or the file is bad.
func (f *prefixFile) look() (list prefixes, fresh bool) {
	if f.path == "" {
		return prefixes{}, !f.good
	}
	now := service.StampOf(f.path)
	if now == f.seen && now != (service.Stamp{}) {
		return nil, false
	}
	text, err := service.ReadFile(f.path, maxPrefixFile)
	if err != nil { // it may be another the next time, and the stamp the same
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

// refuse takes back that the file was read, if err says why.
func (f *prefixFile) refuse(err error) {
	if err != nil {
		f.seen, f.problem = service.Stamp{}, err
	}
}
