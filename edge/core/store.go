package core

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"syscall"
	"time"

	"anymx/edge/mail"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errFull is a disk that has no room for mail.
var errFull = errors.New("no room on the disk")

// store keeps messages for mailboxes. It is safe for use by many goroutines.
type store struct {
	fs      vfs.FS
	dir     string
	reserve uint64 // octets of the disk that stay free
	now     func() time.Time
	boxes   *maildirs
	ledger  *ledger

	mu    sync.Mutex
	doing map[identity]chan struct{} // being stored; closed when that has ended
}

// openStore opens or makes the store: dir/mail holds the Maildirs, dir/ledger
// what was stored.
func openStore(fs vfs.FS, dir string, reserve int64, log *slog.Logger, now func() time.Time) (*store, error) {
	for _, d := range []string{dir, fs.PathJoin(dir, "mail")} {
		if err := makeDir(fs, d); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	// First the ledger, whose lock keeps a second program out.
	ledger, err := openLedger(fs, fs.PathJoin(dir, "ledger"), log)
	if err != nil {
		return nil, err
	}
	boxes, err := openMaildirs(fs, fs.PathJoin(dir, "mail"))
	if err != nil {
		return nil, errors.Join(err, ledger.close())
	}
	return &store{
		fs: fs, dir: dir, reserve: uint64(reserve), now: now, boxes: boxes, ledger: ledger,
		doing: make(map[identity]chan struct{}),
	}, nil
}

// close ends the store. No message may be on its way.
func (s *store) close() error { return s.ledger.close() }

// accepting says whether a message of size octets, 0 if that is not known, can
// be stored: nil, or why not.
func (s *store) accepting(size int64) error {
	if err := s.ledger.err(); err != nil {
		return err
	}
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if usage.AvailBytes < s.reserve+uint64(size) {
		return errFull
	}
	return nil
}

// incoming is a message on its way into the store.
type incoming struct {
	store     *store
	file      vfs.File
	name      string
	buf       *bufio.Writer
	size      int64
	unchecked int // octets since the disk was looked at

	// duplicates is how many of the mailboxes had the message before, after
	// store.
	duplicates int
}

// checkEvery is how many octets a message writes between two looks at the disk.
const checkEvery = 1 << 20

var buffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 32<<10) }}

// begin opens a file for a message. discard must follow.
func (s *store) begin() (*incoming, error) {
	file, name, err := s.boxes.create()
	if err != nil {
		return nil, full(fmt.Errorf("store: %w", err))
	}
	in := &incoming{store: s, file: file, name: name, buf: buffers.Get().(*bufio.Writer)}
	in.buf.Reset(file)
	return in, nil
}

// Write takes a piece of the message.
func (in *incoming) Write(p []byte) (int, error) {
	if in.unchecked += len(p); in.unchecked >= checkEvery {
		in.unchecked = 0
		if err := in.store.accepting(0); err != nil {
			return 0, err
		}
	}
	n, err := in.buf.Write(p)
	in.size += int64(n)
	return n, full(wrap("store", err))
}

// discard drops what keep has not stored.
func (in *incoming) discard() {
	in.buf.Reset(nil)
	buffers.Put(in.buf)
	_ = in.file.Close() // synced by keep, or of no use
	_ = in.store.fs.Remove(in.name)
}

// keep puts the message into the mailboxes of to, once for each identity, and
// returns when that is on stable storage. The errors stand beside the
// recipients; nil is stored. A message without identity that can't be stored for
// all is stored for none if together is set, because it will come again as a
// whole.
func (in *incoming) keep(who identity, to []mail.Path, together bool) []error {
	boxes, index := mailboxesOf(to)
	name := fileName(who, in.store.now())
	outcome := in.deliver(who, name, boxes)
	if together && who.isNone() && errors.Join(outcome...) != nil {
		for i, err := range outcome {
			if err == nil {
				outcome[i] = errors.Join(errPartly, in.store.boxes.undo(name, boxes[i]))
			}
		}
	}
	errs := make([]error, len(to))
	for i, at := range index {
		errs[i] = full(outcome[at])
	}
	return errs
}

// errPartly is for those who don't get a message because others can't.
var errPartly = errors.New("not stored for other recipients")

// deliver stores the message in boxes, with an error or nil for each.
func (in *incoming) deliver(who identity, name string, boxes []string) []error {
	s := in.store
	defer s.alone(who)()
	errs := make([]error, len(boxes))
	var fresh []string // the boxes that don't have it
	var at []int       // their indexes
	for i, box := range boxes {
		known := false
		if !who.isNone() {
			known, errs[i] = s.ledger.knows(who, box)
		}
		switch {
		case known:
			in.duplicates++
		case errs[i] == nil:
			fresh, at = append(fresh, box), append(at, i)
		}
	}
	if len(fresh) == 0 {
		return errs
	}
	fail := func(err error) []error {
		for _, i := range at {
			errs[i] = cmp.Or(errs[i], err)
		}
		return errs
	}
	if err := in.buf.Flush(); err != nil {
		return fail(fmt.Errorf("store: %w", err))
	}
	if err := in.file.Sync(); err != nil {
		return fail(fmt.Errorf("store: %w", err))
	}
	var stored []string
	for i, err := range s.boxes.deliver(in.name, name, fresh) {
		if errs[at[i]] = err; err == nil {
			stored = append(stored, fresh[i])
		}
	}
	if who.isNone() || len(stored) == 0 {
		return errs
	}
	if err := s.ledger.remember(who, stored); err != nil {
		return fail(err)
	}
	return errs
}

// mailboxesOf are the mailboxes of to, each once, and for each recipient the
// index of its own.
func mailboxesOf(to []mail.Path) (boxes []string, index []int) {
	index = make([]int, len(to))
	seen := make(map[string]int, len(to))
	for i, p := range to {
		box := mailboxOf(p)
		at, ok := seen[box]
		if !ok {
			at = len(boxes)
			seen[box] = at
			boxes = append(boxes, box)
		}
		index[i] = at
	}
	return boxes, index
}

// fileName is the message's name in a Maildir: a time for readers that sort by
// name, that of its arrival if it has an identity, and what tells it from
// others.
func fileName(who identity, now time.Time) string {
	if who.isNone() {
		return strconv.FormatInt(now.Unix(), 10) + ".R" + rand.Text() + ".core"
	}
	return strconv.FormatInt(who.id.Time().Unix(), 10) + ".I" + who.String()
}

// alone waits until no other session stores the same message, and keeps others
// waiting until its result is called.
func (s *store) alone(who identity) (done func()) {
	if who.isNone() {
		return func() {}
	}
	for {
		s.mu.Lock()
		other, busy := s.doing[who]
		if !busy {
			mine := make(chan struct{})
			s.doing[who] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.doing, who)
				s.mu.Unlock()
				close(mine)
			}
		}
		s.mu.Unlock()
		<-other
	}
}

// full makes errFull of what the system says where there is no room.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", errFull, err)
	}
	return err
}
