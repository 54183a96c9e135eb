package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"anymx/edge/appliance/slot"
	"anymx/edge/appliance/slot/slottest"
	"anymx/tests/kit"
)

// TestMain also runs this binary as programs of the machine: as systemd-sysupdate, which build
// machines lack, and as the child that downloads. It fails if a test leaves a goroutine of this
// package running.
func TestMain(m *testing.M) {
	switch os.Getenv("ANYMX_TEST_AS") {
	case "sysupdate":
		if err := sysupdate(os.Getenv("ANYMX_TEST_ROOT"), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "fetch":
		if err := Fetch(context.Background(), os.Args[1], os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "anymx-machine: %s\n", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(kit.Run(m, kit.Leaks{Of: []string{"anymx/edge/appliance/machine"}}))
}

// wrap writes a script that runs this binary as another program.
func wrap(t testing.TB, dir, as, root string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, as)
	text := fmt.Sprintf("#!/bin/sh\nGORACE=atexit_sleep_ms=0 ANYMX_TEST_AS=%s ANYMX_TEST_ROOT=%s exec %s \"$@\"\n", as, root, self)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// sysupdate imitates what systemd-sysupdate 257 does with our transfers (see image/sysupdate.d), on
// a machine below root. The file "faults" there makes it fail: "die N" before the Nth change,
// "corrupt" or "no-entry".
func sysupdate(root string, args []string) error {
	m := slottest.Machine{System: slot.System{Root: root, ESP: root + "/efi", Disk: root + "/disk"}}
	table, err := m.Read()
	if err != nil {
		return err
	}
	faults, _ := os.ReadFile(root + "/faults") // normally absent
	word := strings.Fields(string(faults))
	changes := 0
	change := func(do func() error) error {
		changes++
		if len(word) == 2 && word[0] == "die" && strconv.Itoa(changes) == word[1] {
			return errors.New("power cut")
		}
		return do()
	}
	fmt.Println("Discovering installed instances…")
	switch {
	case slices.Equal(args, []string{"--instances-max=1", "vacuum"}):
		return vacuum(&m, table, change)
	case len(args) == 2 && args[0] == "update":
		return install(&m, args[1], slices.Contains(word, "corrupt"), slices.Contains(word, "no-entry"), change)
	}
	return fmt.Errorf("unknown command %q", args)
}

// setLabel changes a partition in the disk's table.
func setLabel(m *slottest.Machine, number int, label string, id slot.UUID) error {
	list, err := slot.ReadDisk(m.Disk)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].Number == number {
			list[i].Label = label
			if id != "" {
				list[i].ID = id
			}
		}
	}
	return slottest.WriteTable(m.Disk, list)
}

func vacuum(m *slottest.Machine, t *slot.Table, change func(func() error) error) error {
	for i := range t.Slots {
		s := &t.Slots[i]
		if s.Running {
			continue
		}
		for _, p := range []slot.Partition{s.Verity, s.Root} {
			if p.Label == "_empty" {
				continue
			}
			fmt.Printf("Removing old partition %d.\n", p.Number)
			if err := change(func() error { return setLabel(m, p.Number, "_empty", "") }); err != nil {
				return err
			}
		}
		if s.Entry != nil {
			if err := change(func() error { return os.Remove(t.Path(*s.Entry)) }); err != nil {
				return err
			}
		}
	}
	return nil
}

func install(m *slottest.Machine, version string, corrupt, noEntry bool, change func(func() error) error) error {
	t, err := m.Read()
	if err != nil {
		return err
	}
	staged := m.Root + "/state/staged"
	other := t.Other()
	parts := []struct {
		kind string
		slot.Partition
		label string
	}{{"verity", other.Verity, "anymx_" + version + "_verity"}, {"root", other.Root, "anymx_" + version}}
	ids := map[string]slot.UUID{}
	for _, p := range parts {
		if p.Label != "_empty" {
			return fmt.Errorf("no empty partition for %s", p.kind)
		}
		found, err := filepath.Glob(staged + "/anymx_" + version + "_*." + p.kind + ".raw")
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%s: %v, %v", p.kind, found, err)
		}
		name := strings.TrimSuffix(filepath.Base(found[0]), "."+p.kind+".raw")
		ids[p.kind] = slot.UUID(strings.TrimPrefix(name, "anymx_"+version+"_"))
		fmt.Printf("Acquiring %s\n", found[0])
		if err := change(func() error { return copyTo(found[0], m.Disk, p.Start, corrupt && p.kind == "root") }); err != nil {
			return err
		}
	}
	part := m.ESP + "/EFI/Linux/.#sysupdateanymx_" + version + "+3-0.efi0123"
	if err := change(func() error { return copyTo(staged+"/anymx_"+version+".efi", part, 0, false) }); err != nil {
		return err
	}
	for _, p := range parts {
		if err := change(func() error { return setLabel(m, p.Number, p.label, ids[p.kind]) }); err != nil {
			return err
		}
	}
	if noEntry {
		return os.Remove(part)
	}
	return change(func() error { return os.Rename(part, m.ESP+"/EFI/Linux/anymx_"+version+"+3-0.efi") })
}

func copyTo(from, to string, at int64, corrupt bool) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if corrupt {
		text[len(text)/2] ^= 1
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(f, at), strings.NewReader(string(text)))
	return errors.Join(err, f.Close())
}
