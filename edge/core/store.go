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

// errFull says that the disk has no space for mail.
var errFull = errors.New("disk is full")

// store stores messages in mailboxes. It is safe for use by many goroutines.
type store struct {
	fs      vfs.FS
	dir     string
	reserve uint64 // bytes of the disk that stay free
	now     func() time.Time
	boxes   *maildirs
	ledger  *ledger

	mu    sync.Mutex
	doing map[identity]chan struct{} // messages being stored; closed when that has finished
}

// openStore opens or creates the store: dir/mail has the Maildirs, dir/ledger the ledger.
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

// close closes the store. No message may be being received.
func (s *store) close() error { return s.ledger.close() }

// accepting returns nil if a message of size bytes (0 if unknown) can be stored, or why it can't.
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

// incoming is a message being received.
type incoming struct {
	store     *store
	file      vfs.File
	name      string
	buf       *bufio.Writer
	size      int64
	unchecked int // bytes since the disk was last checked

	// duplicates is how many of the mailboxes already had the message; set by keep.
	duplicates int
}

// checkEvery is how many bytes of a message are written between two checks of the disk.
const checkEvery = 1 << 20

var buffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 32<<10) }}

// newIncoming creates a file for a message. discard must follow.
func (s *store) newIncoming() (*incoming, error) {
	file, name, err := s.boxes.create()
	if err != nil {
		return nil, full(fmt.Errorf("store: %w", err))
	}
	in := &incoming{store: s, file: file, name: name, buf: buffers.Get().(*bufio.Writer)}
	in.buf.Reset(file)
	return in, nil
}

// Write writes a piece of the message.
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

// discard removes the message's file. Mailboxes that keep has linked it into are not affected.
func (in *incoming) discard() {
	in.buf.Reset(nil)
	buffers.Put(in.buf)
	_ = in.file.Close() // synced by keep, or no longer needed
	_ = in.store.fs.Remove(in.name)
}

// keep stores the message in the mailboxes of to, once for each identity, and returns when that is
// on stable storage. It returns an error for each recipient; nil means stored. If together is set,
// a message without identity that can't be stored for all is stored for none, because it will be
// sent again for all.
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

// errPartly is the error for recipients whose message is not stored because it can't be stored for
// others.
var errPartly = errors.New("not stored for other recipients")

// deliver stores the message in boxes, with an error or nil for each.
func (in *incoming) deliver(who identity, name string, boxes []string) []error {
	s := in.store
	defer s.alone(who)()
	errs := make([]error, len(boxes))
	var fresh []string // the boxes that don't have the message
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

// mailboxesOf returns the mailboxes of to without duplicates, and for each recipient the index of
// its mailbox.
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

// fileName returns the name of the message in a Maildir: a time for readers that sort by name (that
// of arrival if it has an identity), and a part that makes it unique.
func fileName(who identity, now time.Time) string {
	if who.isNone() {
		return strconv.FormatInt(now.Unix(), 10) + ".R" + rand.Text() + ".core"
	}
	return strconv.FormatInt(who.id.Time().Unix(), 10) + ".I" + who.String()
}

// alone waits until no other session stores the same message, and makes others wait until done is
// called.
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

// full wraps err in errFull if it says that the disk or a quota is full.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", errFull, err)
	}
	return err
}
