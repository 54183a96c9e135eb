package anycast

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/statefile"
)

// orderFile is the kept order on disk. Without a file the order is to announce.
type orderFile struct{ dir string }

// record is what stands in the file.
type record struct {
	Version int       `json:"version"` // 1
	Order   api.Order `json:"order"`
	At      time.Time `json:"at"`
}

// maxRecord bounds the file, in octets; a reason has no more than maxReason.
const maxRecord = 1 << 20

// openOrderFile opens the file in dir, which can be used although there is an error.
func openOrderFile(dir string) (orderFile, error) {
	f := orderFile{dir}
	return f, f.open()
}

// open makes the directory that the file is in. It should be there before the first
// drain: one that can't be kept would come as a surprise.
func (f orderFile) open() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("directory of the kept order: %w; a drain ends with this process", err)
	}
	return nil
}

func (f orderFile) path() string { return filepath.Join(f.dir, "order.json") }

func (f orderFile) file() statefile.File { return statefile.File(f.path()) }

// load reads the kept order. If there is a file and it can't be understood, the
// order is to withdraw: what stood in it was no order to announce, for that has
// no file. The error says what is wrong then.
func (f orderFile) load() (standing, error) {
	text, err := f.file().Read(maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return standing{Order: api.Order{Routes: api.Announced, Keep: true}}, nil
	}
	var r record
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil && r.Version != 1 {
		err = fmt.Errorf("version %d is unknown", r.Version)
	}
	if err == nil {
		err = checkRoutes(r.Order.Routes)
	}
	if err != nil {
		err = fmt.Errorf("the kept order cannot be read: %s: %w", f.path(), err)
		reason := err.Error() + "; nothing is announced until the next order"
		return standing{Order: api.Order{Routes: api.Withdrawn, Reason: reason, Keep: true}}, err
	}
	r.Order.Keep = true
	return standing{Order: r.Order, at: r.At}, nil
}

// save makes the file say s, at once and whole: after a crash it is either the
// old one or the new one. When it returns nil, that is on stable storage.
func (f orderFile) save(s standing) error {
	var err error
	if s.Routes == api.Announced {
		err = f.file().Remove()
	} else {
		var text []byte
		if text, err = json.MarshalIndent(record{Version: 1, Order: s.Order, At: s.at}, "", "\t"); err == nil {
			err = f.file().Write(append(text, '\n'))
		}
	}
	if err != nil {
		return fmt.Errorf("keeping the order: %w", err)
	}
	return nil
}

// checkRoutes refuses what is none of the three.
func checkRoutes(r api.Routes) error {
	switch r {
	case api.Announced, api.Graceful, api.Withdrawn:
		return nil
	}
	return fmt.Errorf("routes are %q, %q or %q, not %q", api.Announced, api.Graceful, api.Withdrawn, r)
}
