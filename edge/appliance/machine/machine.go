// Package machine manages the appliance itself: which version of the image it runs, how it gets
// another one, and whether that one stays. It is the program anymx-machine, which is root, because
// it writes slots and boot entries and reboots. Of unsigned data it parses only two headers
// (package bundle), and it talks only to its own socket: what comes from the network comes through
// a child that may do nothing else (fetch.go).
//
// What happens to the data of an update (update.go):
//
//  1. The bundle streams in, from the socket or from the child. Its signature is
//     verified first; then each file is hashed while it is written to the folder
//     staged on /var. Until here the operation ends with its client; from here on it
//     continues without it.
//  2. A record is written (record.go): the versions, and which BGP peers have a
//     session now, so that the same can be required of the new version.
//  3. The boot counter of the running version's entry is reset: the machine comes
//     back to it. Then the entry of the other slot is removed, and then the
//     content of that slot. systemd-sysupdate writes the hash tree, the root, and
//     last the kernel, which is the new boot entry.
//  4. What was written is read back from the disk and compared with the manifest. If
//     it differs, the new entry is removed.
//  5. The node is drained, until its restart, and the machine is rebooted.
//
// After a power cut at any moment, the running version's entry is in place with all its boot
// attempts. Until the new entry exists, which is written last, the loader knows no other version:
// what is half written has no entry. From then on it boots the new version, which is whole; the
// record is on disk before.
//
// A version is confirmed once (confirm.go): when it has carried a message and its BGP sessions are
// established. The boot counter of a confirmed version is reset at each boot (judge.go). That of an
// unconfirmed version is not, so that the loader goes back after three boots; in addition, the
// machine reboots if a boot is not confirmed within five minutes.
package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"anymx/edge/appliance/slot"
	"anymx/edge/operate/control"
)

// Options are paths and limits. A zero field means the value in its comment.
type Options struct {
	System     slot.System // the machine that this process runs on
	State      string      // /var/lib/anymx-machine; created if missing
	Keys       string      // /usr/lib/anymx/update.keys
	Sysupdate  string      // /usr/lib/systemd/systemd-sysupdate
	Systemctl  string      // /usr/bin/systemctl
	Networkctl string      // /usr/bin/networkctl
	Socket     string      // /run/anymx/machine.sock
	Config     string      // /etc/anymx/anymx.toml: it names the other programs' sockets
	// Fetch is the command that writes the content at a URL, its last argument, to its standard
	// output. Nil: this program, with -fetch.
	Fetch []string
	// FetchUser is the user that runs that command; "": this process's.
	FetchUser string
	// Users may run operations, besides root. Nil: anymx-console. Others with access to the socket
	// may only read.
	Users []string

	Deadline   time.Duration // 5m: from the boot until an unconfirmed version gives up
	Retry      time.Duration // 2s: between two attempts to confirm it
	Poll       time.Duration // 250ms: between two checks of a drain
	DrainLimit time.Duration // 30m: the node's own limits end a drain earlier
	WriteLimit time.Duration // 20m: for systemd-sysupdate
	Log        *slog.Logger  // nil: nothing is logged
}

func (o Options) withDefaults() Options {
	text := func(p *string, standard string) {
		if *p == "" {
			*p = standard
		}
	}
	span := func(p *time.Duration, standard time.Duration) {
		if *p == 0 {
			*p = standard
		}
	}
	text(&o.State, "/var/lib/anymx-machine")
	text(&o.Keys, "/usr/lib/anymx/update.keys")
	text(&o.Sysupdate, "/usr/lib/systemd/systemd-sysupdate")
	text(&o.Systemctl, "/usr/bin/systemctl")
	text(&o.Networkctl, "/usr/bin/networkctl")
	text(&o.Socket, control.MachineSocket)
	text(&o.Config, "/etc/anymx/anymx.toml")
	span(&o.Deadline, 5*time.Minute)
	span(&o.Retry, 2*time.Second)
	span(&o.Poll, 250*time.Millisecond)
	span(&o.DrainLimit, 30*time.Minute)
	span(&o.WriteLimit, 20*time.Minute)
	if o.Users == nil {
		o.Users = []string{"anymx-console"}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Machine is the appliance that this process manages.
type Machine struct {
	Options
	records records
	started time.Time
	users   map[int]bool // that may run operations
	results results
	givesUp bool // don't wait for a version that fails for certain

	provisioning sync.Mutex // one at a time

	ctx       context.Context // of operations
	work      sync.WaitGroup  // operations; started under mu
	mu        sync.Mutex
	operation *operation // the running one; nil: none
	notYet    string     // what the confirmation still lacks; "": unknown, or nothing
}

func newMachine(ctx context.Context, o Options) (*Machine, error) {
	m := &Machine{Options: o.withDefaults(), started: time.Now(), ctx: ctx}
	if err := os.MkdirAll(m.State, 0o700); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	m.records = records{m.State}
	m.users = userIDs(m.Users)
	return m, nil
}

// Run manages the machine and serves its socket, until ctx ends. ready is called once it serves.
func Run(ctx context.Context, o Options, ready func()) error {
	orders, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	m, err := newMachine(orders, o)
	if err != nil {
		return err
	}
	m.cleanUpAndJudge()
	e, err := m.endpoint()
	if err != nil {
		return err
	}
	l, err := control.Listen(m.Socket)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { m.confirmLate(ctx) })
	background.Go(func() { // first, so that the client of an operation learns the outcome
		<-ctx.Done()
		cancel()
	})
	ready()
	err = e.Serve(ctx, l, nil)
	stop()
	background.Wait()
	m.work.Wait()
	return err
}

// cleanUpAndJudge does what each start requires: it removes leftovers, judges the last update, and
// resets the running version's boot counter if allowed.
func (m *Machine) cleanUpAndJudge() {
	if err := m.clean(); err != nil {
		m.Log.Error("removing the leftovers of an update failed", "err", err)
	}
	if err := m.judge(); err != nil {
		m.Log.Error("managing the slots failed", "err", err)
	}
}

// staged returns the folder from which systemd-sysupdate reads a version.
func (m *Machine) staged() string { return filepath.Join(m.State, "staged") }

// clean removes what an update left on /var.
func (m *Machine) clean() error { return os.RemoveAll(m.staged()) }

// table reads the slots; it fails on a machine without them.
func (m *Machine) table() (*slot.Table, error) {
	t, err := m.System.Read()
	if err != nil {
		return nil, err
	}
	if t.Running() == nil {
		return nil, fmt.Errorf("no slot of %s contains the running version %s", t.Disk, t.Version)
	}
	return t, nil
}

// judge judges the last update and resets the running version's boot counter if allowed. Only one
// process does that at a time.
func (m *Machine) judge() error {
	unlock, err := m.records.lock()
	if err != nil {
		return err
	}
	defer unlock()
	t, err := m.table()
	if err != nil {
		return err
	}
	last, err1 := m.records.last()
	confirmed, err2 := m.records.confirmed()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if next := outcome(t, last, confirmed, time.Now()); next != nil {
		m.Log.Info("last update judged", "version", next.Version, "from", next.From, "outcome", next.Outcome)
		if err := m.records.setLast(next); err != nil {
			return err
		}
		last = next
	}
	if mayRetreat(t, last, confirmed) {
		return nil
	}
	return m.arm(t, t.Running())
}

// arm resets the boot counter of a slot's entry.
func (m *Machine) arm(t *slot.Table, s *slot.Slot) error {
	if s.Entry == nil {
		return fmt.Errorf("version %s has no boot entry", s.Version)
	}
	before := s.Entry.File
	e, err := slot.Rename(t.ESP, *s.Entry, s.Entry.Armed(), s.Spare...)
	if err != nil {
		return err
	}
	if e.File != before {
		m.Log.Info("boot counter reset", "was", before, "is", e.File)
	}
	*s.Entry, s.Spare = e, nil
	return nil
}
