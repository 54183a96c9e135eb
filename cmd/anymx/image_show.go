package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"anymx/edge/appliance/diskimage"
	"anymx/edge/appliance/slot"
	"anymx/edge/operate/words"
)

const imageShowHelp = `Show tells what is in an image, or on a disk: its size and partitions, the versions
in its slots, the entries that it boots from with the boot attempts that each has left, and
the files of the config in it. It shows nothing of what is in those.

A disk that is in use can be looked at too; what it shows then may be a moment old.`

func (p *program) imageShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show IMAGE", Short: "Show what is in an image", Long: imageShowHelp,
		Example: "  anymx image show anymx.raw\n  anymx image show /dev/sdb\n  anymx image show anymx.raw --json | jq -r '.slots[].version'",
		Args:    someArgs(1, 1),
		RunE: p.local(func(_ *cobra.Command, args []string) error {
			img, err := openImage(args[0], false)
			if err != nil {
				return err
			}
			defer img.close()
			p.warn(img.warnings)
			answer, err := imageShownOf(args[0], img)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return p.print(answer, answer.text)
		}),
	}
}

// imageShown is the result of image show as JSON.
type imageShown struct {
	Image      string           `json:"image"`
	Size       int64            `json:"size"` // bytes
	Warnings   []string         `json:"warnings"`
	Partitions []imagePartition `json:"partitions"`
	Slots      []imageSlot      `json:"slots"`
	Boot       []bootEntry      `json:"boot"`
	Config     []imageFile      `json:"config"` // empty: none
	Free       int64            `json:"free"`   // bytes, on the ESP
}

type imagePartition struct {
	Number int    `json:"number"`
	Label  string `json:"label"`
	Size   int64  `json:"size"` // bytes
	Type   string `json:"type"` // GUID
	ID     string `json:"id"`   // GUID
}

// imageSlot is a root file system and its verity.
type imageSlot struct {
	Version string `json:"version"` // "": the slot is empty
	Root    int    `json:"root"`    // number of the partition; 0: none
	Verity  int    `json:"verity"`
}

// bootEntry is a kernel that the boot loader may choose.
type bootEntry struct {
	File    string `json:"file"`
	Version string `json:"version"` // "": not an image of anymx
	Left    *int   `json:"left"`    // boot attempts left; null: not counted
	Done    int    `json:"done"`    // failed boot attempts
	Size    int64  `json:"size"`    // bytes
}

func imageShownOf(path string, img *image) (*imageShown, error) {
	s := &imageShown{Image: path, Size: img.drive.Size, Warnings: append([]string{}, img.warnings...), Free: img.fat.Free()}
	for _, p := range img.table.Partitions {
		s.Partitions = append(s.Partitions, imagePartition{p.Number, p.Label, p.Size, p.Type.String(), p.ID.String()})
	}
	s.Slots = slotsOf(img.table.Partitions)
	entries, err := img.fat.ReadDir("EFI/Linux")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s.Boot = []bootEntry{}
	for _, e := range entries {
		if !e.Folder && strings.HasSuffix(strings.ToLower(e.Name), ".efi") {
			s.Boot = append(s.Boot, bootEntryOf(e.Name, e.Size))
		}
	}
	slices.SortFunc(s.Boot, func(a, b bootEntry) int { return strings.Compare(a.File, b.File) })
	s.Config, err = configOf(img.fat)
	return s, err
}

const (
	slotPrefix = "anymx_"
	verityEnd  = "_verity"
	emptySlot  = "_empty"
)

// slotsOf reads the versions from the partition labels. Partitions without a version form the empty
// slot, if there are any.
func slotsOf(all []diskimage.Partition) []imageSlot {
	slots := []imageSlot{}
	empty := false
	for _, p := range all {
		name, ours := strings.CutPrefix(p.Label, slotPrefix)
		version, verity := strings.CutSuffix(name, verityEnd)
		if p.Label == emptySlot && !empty {
			empty = true
		}
		if !ours {
			continue
		}
		i := slices.IndexFunc(slots, func(s imageSlot) bool { return s.Version == version })
		if i < 0 {
			i, slots = len(slots), append(slots, imageSlot{Version: version})
		}
		if verity {
			slots[i].Verity = p.Number
		} else {
			slots[i].Root = p.Number
		}
	}
	if empty {
		slots = append(slots, imageSlot{})
	}
	return slots
}

// bootEntryOf parses the name of a boot entry, such as anymx_0.5.0+2-1.efi.
func bootEntryOf(file string, size int64) bootEntry {
	b := bootEntry{File: file, Size: size}
	if e, ours := slot.ParseEntry(file); ours {
		b.Version, b.Done = e.Version, e.Done
		if e.Left != slot.Uncounted {
			b.Left = &e.Left
		}
	}
	return b
}

// text writes the result for people.
func (s *imageShown) text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n\nPartitions\n", words.Clean(s.Image), sizeText(s.Size))
	for _, p := range s.Partitions {
		fmt.Fprintf(&b, "  %d  %-32s  %9s\n", p.Number, words.Clean(p.Label), sizeText(p.Size))
	}
	b.WriteString("\nVersions\n")
	for _, slot := range s.Slots {
		b.WriteString("  " + slot.text() + "\n")
	}
	if len(s.Slots) == 0 {
		b.WriteString("  none: this is not an image of anymx\n")
	}
	b.WriteString("\nBoot entries\n")
	for _, e := range s.Boot {
		fmt.Fprintf(&b, "  %-32s  %9s  %s\n", words.Clean(e.File), sizeText(e.Size), e.text())
	}
	if len(s.Boot) == 0 {
		b.WriteString("  none: nothing boots from it\n")
	}
	size, secrets := total(s.Config)
	switch {
	case len(s.Config) == 0:
		b.WriteString("\nConfig  none\n")
	default:
		fmt.Fprintf(&b, "\nConfig  %s, %s, %s\n%s", counted(len(s.Config), "file"), sizeText(size), counted(secrets, "secret"), filesText(s.Config))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s imageSlot) text() string {
	switch {
	case s.Version == "":
		return "an empty slot"
	case s.Root == 0:
		return fmt.Sprintf("%s  its root partition is missing (verity is partition %d)", words.Clean(s.Version), s.Verity)
	case s.Verity == 0:
		return fmt.Sprintf("%s  its verity partition is missing (root is partition %d)", words.Clean(s.Version), s.Root)
	}
	return fmt.Sprintf("%s  partitions %d (root) and %d (verity)", words.Clean(s.Version), s.Root, s.Verity)
}

func (e bootEntry) text() string {
	switch {
	case e.Version == "":
		return "none of anymx"
	case e.Left == nil:
		return "boot attempts are not counted"
	case *e.Left == 0:
		return fmt.Sprintf("no boot attempts left, %d failed: it boots only if nothing else does", e.Done)
	case *e.Left == 1:
		return fmt.Sprintf("1 boot attempt left%s", failed(e.Done))
	}
	return fmt.Sprintf("%d boot attempts left%s", *e.Left, failed(e.Done))
}

func failed(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d failed", n)
}
