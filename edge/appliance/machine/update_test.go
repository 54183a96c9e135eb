package machine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/appliance/bundle"
	"anymx/edge/appliance/slot"
	"anymx/edge/appliance/slot/slottest"
	"anymx/edge/operate/api"
)

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	w.entries("anymx_0.5.0+3.efi")
	walked, last, err := w.update(c, api.UpdateRequest{}, w.bundle("0.6.0"))
	if err != nil {
		t.Fatal(err, w.log)
	}
	want := []api.MachineStep{api.MachineReceive, api.MachineWrite, api.MachineCheck, api.MachineDrain, api.MachineReboot}
	if !slices.Equal(walked, want) || last != "reboot: version 0.6.0 is next" {
		t.Errorf("%v, %q", walked, last)
	}
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+3-0.efi")
	w.holds("0.6.0")
	if got := w.orders(); got != "reboot" {
		t.Errorf("systemd was ordered %q", got)
	}
	if n := len(w.edge.Orders); n != 1 || w.edge.Orders[0].Until != api.UntilRestart || w.edge.Orders[0].Reason != "update to version 0.6.0" {
		t.Errorf("%+v", w.edge.Orders)
	}
	if last := w.record(); !last.of("0.6.0") || last.From != "0.5.0" || !last.Edge || len(last.Peers) != 1 || last.Outcome != outcomeStaged {
		t.Errorf("%+v", last)
	}
	if left, err := os.ReadDir(w.options.State + "/staged"); !os.IsNotExist(err) {
		t.Errorf("left behind: %v, %v", left, err)
	}
	s, err := c.Status(t.Context())
	if err != nil || s.Image != "0.5.0" || s.Next != "0.6.0" || len(s.Slots) != 2 || s.Slots[1].Version != "0.6.0" || s.Operation != nil || s.Problem != "" {
		t.Errorf("%+v, %v", s, err)
	}
}

// A refused update changes nothing.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	before, err := os.ReadFile(w.Disk)
	if err != nil {
		t.Fatal(err)
	}
	good := w.bundle("0.6.0")
	mine, others := w.key, t.TempDir()+"/key"
	if err := errors.Join(os.Link(mine+".pub", others+".pub"), os.Link(mine, others)); err != nil {
		t.Fatal(err)
	}
	stranger := newWorld(t)
	for name, test := range map[string]struct {
		want   api.UpdateRequest
		bundle []byte
		text   string
	}{
		"nothing":       {bundle: nil, text: "it is truncated"},
		"an image":      {bundle: make([]byte, 1<<20), text: "manifest.json is missing"},
		"unknown key":   {bundle: stranger.bundle("0.6.0"), text: "signed by an unknown key: SHA256:"},
		"cut off":       {bundle: good[:len(good)-5000], text: "it is truncated"},
		"changed":       {bundle: changed(good, 100_000), text: "as in the manifest"},
		"changed later": {bundle: changed(good, len(good)-1600), text: "the update is damaged"},
		"same":          {bundle: w.bundle("0.5.0"), text: "version 0.5.0 is already running"},
		"older":         {bundle: w.bundle("0.4.0"), text: "version 0.4.0 is older than the running version 0.5.0: use --allow-older"},
		"too large":     {bundle: w.bundle("0.6.0", func(m *bundle.Manifest) { m.Files[1].Zeros = slottest.RootSize }), text: "too large for this disk's slots"},
		"no URL":        {want: api.UpdateRequest{URL: "file:///etc/passwd"}, text: `scheme is "file:"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := w.update(c, test.want, test.bundle)
			var refused *api.Error
			if !errors.As(err, &refused) || refused.Code != api.BadRequest || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v, want %q", err, test.text)
			}
		})
	}
	w.entries("anymx_0.5.0+3.efi")
	after, err := os.ReadFile(w.Disk)
	if err != nil || !bytes.Equal(before, after) || w.orders() != "" || len(w.edge.Orders) != 0 || w.record() != nil {
		t.Errorf("something was changed: %v", err)
	}
	for range c.Update(t.Context(), api.UpdateRequest{}, strings.NewReader("x"), 7) { // fewer bytes than announced: it must still end
	}
	if _, _, err := w.update(c, api.UpdateRequest{}, good); err != nil {
		t.Errorf("and then a good one: %v", err)
	}
}

func TestRoom(t *testing.T) {
	w := newWorld(t)
	m, err := newMachine(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	table, err := m.table()
	if err != nil {
		t.Fatal(err)
	}
	f := &bundle.Manifest{Files: []bundle.File{{Role: bundle.Root, Size: 1 << 20}, {Role: bundle.Kernel, Size: 1 << 20}}}
	if err := m.room(table, f); err != nil {
		t.Error(err)
	}
	f.Files[0].Size = 1 << 55
	if err := m.room(table, f); err == nil || !strings.Contains(err.Error(), "not enough space in "+w.options.State) {
		t.Error(err)
	}
}

func changed(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestDryRun(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	walked, last, err := w.update(c, api.UpdateRequest{DryRun: true}, w.bundle("0.6.0"))
	if err != nil || len(walked) != 1 || !strings.Contains(last, "0.6.0 could be installed") {
		t.Errorf("%v, %q, %v", walked, last, err)
	}
	w.entries("anymx_0.5.0+3.efi")
	if w.record() != nil || w.orders() != "" {
		t.Error("something was changed")
	}
}

func TestStageOnly(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	if _, last, err := w.update(c, api.UpdateRequest{StageOnly: true}, w.bundle("0.6.0")); err != nil || !strings.Contains(last, "boots at the next reboot") {
		t.Errorf("%q, %v", last, err)
	}
	if w.orders() != "" || len(w.edge.Orders) != 0 {
		t.Error("it went on")
	}
	w.holds("0.6.0")
	if next := w.boots(true); next != "0.6.0" {
		t.Errorf("%s is booted", next)
	}
}

// An older version is booted before the current one, and the loader returns to the current one if
// the older one fails.
func TestOlder(t *testing.T) {
	w := newWorld(t)
	c, stop := w.run()
	if _, _, err := w.update(c, api.UpdateRequest{AllowOlder: true}, w.bundle("0.4.0")); err != nil {
		t.Fatal(err)
	}
	stop()
	w.entries("anymx_0.4.0+3-0.efi", "anymx_0.5.0+0-1.efi")
	w.edge.lack(errors.New("no listener answers"))
	for i, want := range []string{"0.4.0", "0.4.0", "0.4.0", "0.5.0"} {
		if got := w.boots(true); got != want {
			t.Fatalf("boot %d: %s", i, got)
		}
		if want == "0.4.0" {
			w.fails("no listener answers", true)
		}
	}
	w.settled("anymx_0.4.0+0-3.efi", "anymx_0.5.0+3.efi") // there is nothing else to boot
	if last := w.record(); last.Outcome != outcomeBack {
		t.Errorf("%+v", last)
	}
}

// fails runs the self-test of the running version, which fails.
func (w *world) fails(lacks string, reboots bool) {
	w.t.Helper()
	o := w.options
	o.Deadline = 100 * time.Millisecond
	w.put("/proc/uptime", "1000.0 1.0\n")
	err := Confirm(w.t.Context(), o)
	if !errors.Is(err, ErrUnconfirmed) || !strings.Contains(err.Error(), lacks) {
		w.t.Errorf("%v, want %q", err, lacks)
	}
	if want := map[bool]string{true: "reboot --force"}[reboots]; w.orders() != want {
		w.t.Errorf("systemd was ordered %q", w.orders())
	}
}

// settled starts and stops the program, and then checks the entries.
func (w *world) settled(entries ...string) {
	w.t.Helper()
	_, stop := w.run()
	stop()
	w.entries(entries...)
}

// A version that is already complete in the other slot is not written again, unless any part of it
// differs.
func TestSameAgain(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	stage := api.UpdateRequest{StageOnly: true}
	if _, _, err := w.update(c, stage, w.bundle("0.6.0")); err != nil {
		t.Fatal(err)
	}
	fail := func() { // it uses up its three boot attempts
		t.Helper()
		for _, name := range w.Names(t) {
			if e, ok := slot.ParseEntry(name); ok && e.Version == "0.6.0" {
				if err := os.Rename(w.ESP+"/EFI/Linux/"+name, w.ESP+"/EFI/Linux/anymx_0.6.0+0-3.efi"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	fail()
	walked, _, err := w.update(c, stage, w.bundle("0.6.0"))
	if err != nil || slices.Contains(walked, api.MachineWrite) {
		t.Errorf("%v, %v", walked, err)
	}
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+3.efi")

	for name, spoil := range map[string]func(*slot.Table) error{
		"root":    func(t *slot.Table) error { return poke(t.Disk, t.Other().Root.Start+12345) },
		"zeros":   func(t *slot.Table) error { return poke(t.Disk, t.Other().Root.Start+1_800_000) },
		"tree":    func(t *slot.Table) error { return poke(t.Disk, t.Other().Verity.Start) },
		"kernel":  func(t *slot.Table) error { return poke(t.Path(*t.Other().Entry), 3) },
		"no root": func(t *slot.Table) error { return setLabel(w.Machine, t.Other().Root.Number, "_empty", "") },
		"a UUID": func(t *slot.Table) error {
			return setLabel(w.Machine, t.Other().Verity.Number, t.Other().Verity.Label, "00000000-0000-0000-0000-000000000001")
		},
	} {
		fail()
		table, err := w.Read()
		if err == nil {
			err = spoil(table)
		}
		if err != nil {
			t.Fatal(err)
		}
		if walked, _, err := w.update(c, stage, w.bundle("0.6.0")); err != nil || !slices.Contains(walked, api.MachineWrite) {
			t.Errorf("%s: %v, %v", name, walked, err)
		}
		w.holds("0.6.0")
		w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+3-0.efi")
	}
}

// poke changes one byte of a file.
func poke(file string, at int64) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	b[0] ^= 0xff
	if err == nil {
		_, err = f.WriteAt(b, at)
	}
	return errors.Join(err, f.Close())
}

// Faults of systemd-sysupdate are detected, and the result is never booted.
func TestFaults(t *testing.T) {
	for fault, want := range map[string]string{
		"corrupt": "read back: the root file system differs from what was written", "no-entry": "systemd-sysupdate has ended, but the other slot is incomplete", "die 1": "power cut",
	} {
		t.Run(fault, func(t *testing.T) {
			w := newWorld(t)
			c, stop := w.run()
			w.put("/faults", fault)
			_, _, err := w.update(c, api.UpdateRequest{}, w.bundle("0.6.0"))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
			w.entries("anymx_0.5.0+3.efi")
			if w.orders() != "" || len(w.edge.Orders) != 0 {
				t.Error("the machine was rebooted, or drained")
			}
			stop()
			if !strings.Contains(w.log.String(), "systemd-sysupdate") {
				t.Error("the log does not hold what systemd-sysupdate said")
			}
		})
	}
}

// Power is cut before each change by systemd-sysupdate: the loader always has the version that was
// running, and never prefers an incomplete one. Then the update succeeds.
func TestPowerCut(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.recordConfirmed("0.5.0")
		c, stop := w.run()
		if _, _, err := w.update(c, api.UpdateRequest{StageOnly: true}, w.bundle("0.6.0")); err != nil {
			t.Fatal(err)
		}
		w.put("/faults", fmt.Sprintf("die %d", n)) // during vacuum and during update
		_, _, err := w.update(c, api.UpdateRequest{StageOnly: true}, w.bundle("0.7.0"))
		stop()
		table, errRead := w.Read()
		if errRead != nil {
			t.Fatal(errRead)
		}
		if err == nil {
			if n < 6 || table.Next() != "0.7.0" {
				t.Fatalf("no change %d, and %s is next", n, table.Next())
			}
			return
		}
		if table.Next() != "0.5.0" || table.Running().Entry.Left != 3 || table.Other().Entry != nil {
			t.Errorf("change %d: %s is next; %+v", n, table.Next(), table.Entries())
		}
		w.put("/faults", "")
		if got := w.boots(true); got != "0.5.0" {
			t.Errorf("change %d: %s is booted", n, got)
		}
		c, _ = w.run()
		w.entries("anymx_0.5.0+3.efi") // it is confirmed
		if _, _, err := w.update(c, api.UpdateRequest{}, w.bundle("0.7.0")); err != nil {
			t.Errorf("change %d, and then an update: %v", n, err)
		}
		w.holds("0.7.0")
	}
}

// A node that does not respond, or refuses to drain, does not stop an update.
func TestUpdateWithoutNode(t *testing.T) {
	for name, spoil := range map[string]func(*world){
		"no node":   func(w *world) { w.put("/anymx.toml", "[node]\ncontrol = \"/nowhere/edge.sock\"\n") },
		"no config": func(w *world) { w.options.Config = w.Root + "/none" },
		"refuses":   func(w *world) { w.edge.DrainErr = errors.New("the disk is gone") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spoil(w)
			c, _ := w.run()
			if _, _, err := w.update(c, api.UpdateRequest{}, w.bundle("0.6.0")); err != nil || w.orders() != "reboot" {
				t.Errorf("%v, %q", err, w.orders())
			}
			if last := w.record(); last.Edge != (name == "refuses") {
				t.Errorf("%+v", last)
			}
		})
	}
}

// A machine without a second slot, or one that is not an appliance, reports that.
func TestNoAppliance(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	list := w.Partitions(t)
	if err := slottest.WriteTable(w.Disk, list[:3]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.update(c, api.UpdateRequest{}, w.bundle("0.6.0")); err == nil || !strings.Contains(err.Error(), "has no second slot") {
		t.Error(err)
	}
	w.put("/etc/os-release", "ID=debian\n")
	if _, _, err := w.update(c, api.UpdateRequest{}, w.bundle("0.6.0")); err == nil || !strings.Contains(err.Error(), "this machine is not an appliance") {
		t.Error(err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Image != "" || !strings.Contains(s.Problem, "this machine is not an appliance") {
		t.Errorf("%+v, %v", s, err)
	}
}
