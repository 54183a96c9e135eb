package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"anymx/edge/appliance/diskimage"
	"anymx/edge/operate/words"
)

const imageFlashHelp = `Flash writes an image to a disk, reads it back and compares. All that was on the
disk is lost: it shows which disk that is and what is on it, and asks for its name.

IMAGE is the raw image or the compressed one (.zst). DISK is a whole disk, such as
/dev/sdb or a name in /dev/disk/by-id. It is refused if it is a partition, if it
or a part of it is mounted, swapped to, or held by LVM, a mirror or anything else,
if it is read-only, and if it is too small. With --file it is a file.

Until everything is written the disk has no partition table, so that nothing boots
from one that was written in part. The rest of the disk is made use of by the node,
when it boots for the first time.

Exit codes:
  0    written, and what was read back is the image
  1    refused, not confirmed, or it failed: the disk is of no use then
  2    wrong usage
  130  interrupted; the disk is of no use`

// flashing is one run of image flash.
type flashing struct {
	*program
	yes, file bool
}

func (p *program) imageFlashCommand() *cobra.Command {
	f := &flashing{program: p}
	cmd := &cobra.Command{
		Use: "flash IMAGE DISK", Short: "Write an image to a disk, and compare", Long: imageFlashHelp,
		Example: "  anymx image flash anymx.raw /dev/sdb\n  anymx image flash anymx.raw.zst /dev/disk/by-id/usb-Generic_Flash_Disk-0:0 --yes",
		Args:    someArgs(2, 2),
		RunE: p.local(func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), args[0], args[1])
		}),
	}
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&f.file, "file", false, "DISK is a file, which is as large as the disk that it is written to later")
	return cmd
}

// flashed is the result of image flash as JSON.
type flashed struct {
	Image string          `json:"image"`
	Disk  diskimage.Drive `json:"disk"`
	diskimage.Flashed
	Seconds float64 `json:"seconds"`
}

func (f *flashing) run(ctx context.Context, from, to string) error {
	source, err := openSource(from)
	if err != nil {
		return err
	}
	defer source.close()
	head, err := diskimage.ReadHead(source)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	drive, disk, err := diskimage.OpenDrive(to)
	if err != nil {
		return err
	}
	defer disk.Close()
	switch {
	case drive.File && !f.file:
		return usagef("%s is a file, not a disk: add --file if you mean it", to)
	case !drive.File && f.file:
		return usagef("%s is a disk, not a file", to)
	case sameFile(source.file, disk):
		return usagef("%s and %s are the same", from, to)
	case drive.Size < head.Size:
		return fmt.Errorf("%s is too small: it has %s (%d bytes), the image needs %s (%d)", to, sizeText(drive.Size), drive.Size, sizeText(head.Size), head.Size)
	}
	if err := f.confirm(ctx, drive, from); err != nil {
		return err
	}
	meter := f.meter()
	done, err := diskimage.Flash(ctx, head, diskimage.FlashOptions{Image: source, Disk: disk, Size: drive.Size, Told: meter.show})
	meter.end()
	if err != nil {
		return fmt.Errorf("%s: %w; what was on the disk is lost, and nothing boots from it", drive.Path, err)
	}
	if !drive.File {
		if err := diskimage.Reread(disk); err != nil {
			f.warn([]string{"this machine goes on with the old partitions of " + drive.Path + " until it is plugged in again: " + err.Error()})
		}
	}
	if err := disk.Close(); err != nil {
		return err
	}
	answer := flashed{Image: from, Disk: drive, Flashed: done, Seconds: done.Took.Seconds()}
	return f.print(answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %s written and compared in %s (SHA-256 %s)\n", drive.Path, sizeText(done.Size), done.Took.Round(100*time.Millisecond), done.SHA256)
		return err
	})
}

// confirm shows the disk and asks the user to type its name.
func (f *flashing) confirm(ctx context.Context, d diskimage.Drive, image string) error {
	fmt.Fprint(f.errOut, driveText(d))
	if f.yes {
		return nil
	}
	if !f.terminal() {
		return usagef("flash asks before it writes, and nobody can answer here: add --yes if you mean it")
	}
	fmt.Fprintf(f.errOut, "All of it will be lost. Type %s to write %s to it: ", d.Name, image)
	typed := make(chan string, 1) // a read can't be cancelled; it ends with the process
	go func() {
		line, _ := bufio.NewReader(f.in).ReadString('\n')
		typed <- strings.TrimSpace(line)
	}()
	select {
	case line := <-typed:
		if line == d.Name || line == d.Path {
			return nil
		}
		fmt.Fprintln(f.errOut, "anymx: nothing was written")
		return &answered{exitNo}
	case <-ctx.Done():
		fmt.Fprintln(f.errOut)
		return ctx.Err()
	}
}

// driveText returns what a person needs to recognize a disk.
func driveText(d diskimage.Drive) string {
	text := fmt.Sprintf("%s: %s", d.Path, sizeText(d.Size))
	if d.File {
		return text + ", a file\n"
	}
	model := words.Clean(d.Model)
	if model == "" {
		model = "model unknown"
	}
	text += ", " + model
	if d.Serial != "" {
		text += ", serial " + words.Clean(d.Serial)
	}
	if d.Removable {
		text += ", removable"
	}
	text += "\n"
	for _, held := range d.Holds {
		text += "  " + words.Clean(held) + "\n"
	}
	return text
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	y, errY := b.Stat()
	return err == nil && errY == nil && os.SameFile(x, y)
}

// source is an image that is read sequentially.
type source struct {
	io.Reader
	file    *os.File
	decoder *zstd.Decoder // nil: not compressed
}

func (s *source) close() {
	if s.decoder != nil {
		s.decoder.Close()
	}
	s.file.Close()
}

func openSource(path string) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &usageError{err}
	}
	s := &source{Reader: f, file: f}
	if compressed(path) {
		// `zstd -19 --long=27` needs this window.
		s.decoder, err = zstd.NewReader(f, zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		s.Reader = s.decoder
	}
	return s, nil
}

// meter shows the progress of a flash.
type meter struct {
	f     *flashing
	stage diskimage.Stage
	since time.Time // start of the stage
	said  time.Time // time of the last line
	drawn bool      // the line can be drawn over
	live  bool
}

func (f *flashing) meter() *meter {
	_, _, live := f.screen()
	return &meter{f: f, live: live}
}

// How often a line is redrawn, and how often a new one is written if redrawing is impossible.
const (
	meterDraw = 200 * time.Millisecond
	meterLine = 10 * time.Second
)

func (m *meter) show(p diskimage.Progress) {
	now := m.f.now()
	fresh := p.Stage != m.stage
	if fresh {
		m.stage, m.since = p.Stage, now
	}
	pause := meterLine
	if m.live {
		pause = meterDraw
	}
	if m.f.json && !m.live || !fresh && now.Sub(m.said) < pause && (p.Done < p.Total || !m.live) {
		return
	}
	m.said = now
	line := meterText(p, now.Sub(m.since))
	if !m.live {
		fmt.Fprintln(m.f.errOut, line)
		return
	}
	columns, _, _ := m.f.screen()
	fmt.Fprintf(m.f.errOut, "\r%s\x1b[K", fit(line, columns))
	m.drawn = true
}

// end completes the line.
func (m *meter) end() {
	if m.drawn {
		fmt.Fprint(m.f.errOut, "\r\x1b[K")
	}
}

// meterText returns the progress of a stage after the time since.
func meterText(p diskimage.Progress, since time.Duration) string {
	if p.Total == 0 {
		return string(p.Stage)
	}
	text := fmt.Sprintf("%-9s  %3d%%  %s of %s", p.Stage, p.Done*100/p.Total, sizeText(p.Done), sizeText(p.Total))
	if since < time.Second || p.Done == 0 {
		return text
	}
	rate := float64(p.Done) / since.Seconds()
	left := time.Duration(float64(p.Total-p.Done) / rate * float64(time.Second))
	return text + fmt.Sprintf(", %s/s, %s left", sizeText(int64(rate)), left.Round(time.Second))
}
