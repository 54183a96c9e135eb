// Package machine looks after the appliance itself: which version of the image it
// runs, how it comes to another one, and whether that one holds. It is the program
// anymx-machine, which is root, because it writes slots and boot entries and
// reboots. It parses nothing that is not signed but two headers (package bundle), and
// speaks to nobody but its own socket: what comes from the network comes through
// a child that may do nothing else (fetch.go).
//
// What happens to the data of an update (update.go):
//
//  1. The bundle streams in, from the socket or from the child. Its signature is
//     verified first; then each file is hashed while it is written to the folder
//     staged on /var. Until here the order ends with its client; from here on it
//     goes on without.
//  2. A record is written (record.go): the versions, and which BGP peers have a
//     session now, so that the new version can be held to it.
//  3. The running version's boot entry gets all its tries back: it is what the
//     machine comes back to. Then the entry of the other slot is removed, and then
//     what is in that slot. systemd-sysupdate writes the hash tree, the root, and
//     last the kernel, which is the new boot entry.
//  4. What was written is read back from the disk and compared with the manifest. If
//     it differs, the new entry is removed.
//  5. The node is drained, until its restart, and the machine is rebooted.
//
// A power cut, at any moment, finds the running version's entry in place and with
// all its tries. Until the new entry is there, which is the last thing that is
// written, the loader knows no other version: what is half written has no entry. From
// then on it boots the new version, which is whole; the record is on disk before.
//
// A version is proven once (prove.go): it has carried a message, and its BGP
// sessions are there. A version that is not proven is not armed again, so that the
// loader goes back after three boots, and five minutes after a boot without proof
// the machine reboots. A proven one is armed again at each boot (judge.go).
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

// Options is where things are. A zero field means what stands beside it.
type Options struct {
	System     slot.System // the machine that this process runs on
	State      string      // /var/lib/anymx-machine; made if it is not there
	Keys       string      // /usr/lib/anymx/update.keys
	Sysupdate  string      // /usr/lib/systemd/systemd-sysupdate
	Systemctl  string      // /usr/bin/systemctl
	Networkctl string      // /usr/bin/networkctl
	Socket     string      // /run/anymx/machine.sock
	Config     string      // /etc/anymx/anymx.toml: it names the sockets of the others
	// Fetch is the command that writes what is behind an URL, its last argument, to
	// its standard output. Nil: this program, with -fetch.
	Fetch []string
	// FetchUser is who that command runs as; "": as this process.
	FetchUser string
	// Users may give orders, beside root. Nil: anymx-console. Who else may open the socket
	// may only look.
	Users []string

	Deadline   time.Duration // 5m: from the boot until an unproven version gives up
	Retry      time.Duration // 2s: between two attempts at a proof
	Poll       time.Duration // 250ms: between two looks at a drain
	DrainLimit time.Duration // 30m: the node's own limits end a drain before
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

// Machine is the appliance that this process looks after.
type Machine struct {
	Options
	records records
	started time.Time
	users   map[int]bool // that may give orders
	results results
	givesUp bool // a version that fails for sure is not waited for

	provisioning sync.Mutex // one at a time

	ctx    context.Context // of orders
	work   sync.WaitGroup  // orders; begun under mu
	mu     sync.Mutex
	order  *order // under way; nil: none
	notYet string // what the proof lacks; "": not known, or nothing
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

// Run looks after the machine and answers on its socket, until ctx ends. ready is
// called when it answers.
func Run(ctx context.Context, o Options, ready func()) error {
	orders, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	m, err := newMachine(orders, o)
	if err != nil {
		return err
	}
	m.begin()
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
	background.Go(func() { m.proveLate(ctx) })
	background.Go(func() { // first, so that the client of an order hears of it
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

// begin does what is due at each start: leftovers go, the last update is judged,
// and the running version is armed again if it may be.
func (m *Machine) begin() {
	if err := m.clean(); err != nil {
		m.Log.Error("leftovers of an update can't be removed", "err", err)
	}
	if err := m.settle(); err != nil {
		m.Log.Error("the slots can't be looked after", "err", err)
	}
}

// staged is the folder from which systemd-sysupdate takes a version.
func (m *Machine) staged() string { return filepath.Join(m.State, "staged") }

// clean removes what an update left on /var.
func (m *Machine) clean() error { return os.RemoveAll(m.staged()) }

// table reads the slots of a machine that has them.
func (m *Machine) table() (*slot.Table, error) {
	t, err := m.System.Read()
	if err != nil {
		return nil, err
	}
	if t.Running() == nil {
		return nil, fmt.Errorf("no slot of %s holds version %s, which runs", t.Disk, t.Version)
	}
	return t, nil
}

// settle judges the last update and arms the running version again if it may be.
// Only one process does that at a time.
func (m *Machine) settle() error {
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
	proven, err2 := m.records.proven()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if next := outcome(t, last, proven, time.Now()); next != nil {
		m.Log.Info("the last update", "version", next.Version, "from", next.From, "outcome", next.Outcome)
		if err := m.records.setLast(next); err != nil {
			return err
		}
		last = next
	}
	if mayRetreat(t, last, proven) {
		return nil
	}
	return m.arm(t, t.Running())
}

// arm gives the entry of a slot all its tries.
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
		m.Log.Info("boot entry armed", "was", before, "is", e.File)
	}
	*s.Entry, s.Spare = e, nil
	return nil
}
