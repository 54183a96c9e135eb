package provision

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestProvisionFromStick(t *testing.T) {
	for _, fsType := range []string{"ext4", "erofs"} {
		t.Run(fsType, func(t *testing.T) {
			n := newNode(t)
			before := mounts(t)
			inFolder := map[string]string{"lost.txt": "x"}
			for name, text := range goodFiles() {
				inFolder["anymx/"+name] = text
			}
			device := n.stick(fsType, inFolder, "ANYMX")
			r := n.run()
			if !r.OK() || r.Source != "file system ANYMX on "+device {
				t.Fatal(r.Text())
			}
			n.placed(goodFiles())
			if mounts(t) != before {
				t.Error("it is still mounted")
			}

			// The config was copied, so the stick may be removed.
			n.unplug()
			n.reboot()
			r = n.run()
			if want := "copy on /var, made 2026-05-01 12:00 UTC from the file system ANYMX on " + device; !r.OK() || r.Source != want {
				t.Fatalf("source %q, want %q\n%s", r.Source, want, r.Text())
			}
			n.placed(goodFiles())
			info, err := os.Stat(n.root + "/var/lib/anymx-machine/config/tree/credentials/wg.key")
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}

			// The ESP takes precedence over the copy.
			n.esp(with(goodFiles(), "recipients.example.net", "esp\n"))
			if r = n.run(); r.Source != "ESP" {
				t.Error(r.Text())
			}
			if err := Forget(n.root); err != nil {
				t.Fatal(err)
			}
			n.absent("/var/lib/anymx-machine/config")
		})
	}
}

func TestProvisionSticks(t *testing.T) {
	t.Run("two", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		a, b := n.stick("ext4", goodFiles(), "ANYMX"), n.stick("ext4", goodFiles(), "ANYMX")
		r := n.run()
		if r.OK() || !strings.Contains(r.Text(), "found 2, only one is allowed") || !strings.Contains(r.Text(), a) || !strings.Contains(r.Text(), b) {
			t.Error(r.Text())
		}
	})
	t.Run("another label", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		n.stick("ext4", with(goodFiles(), "anymx.toml", "bad"), "OTHER")
		if r := n.run(); !r.OK() || r.Source != "ESP" {
			t.Error(r.Text())
		}
	})
	t.Run("no config on it", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		n.stick("ext4", map[string]string{"photo.jpg": "x"}, "ANYMX")
		if r := n.run(); !r.OK() || r.Source != "ESP" || !strings.Contains(r.Looked[1].Found, "no anymx.toml at its top or in its folder") {
			t.Error(r.Text())
		}
	})
	t.Run("a bad config on it", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		n.stick("ext4", with(goodFiles(), "anymx.toml", "bad"), "ANYMX")
		if r := n.run(); r.OK() || r.InForce {
			t.Error(r.Text())
		}
		n.absent("/var/lib/anymx-machine/config")
	})
	t.Run("the ESP has one too", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		n.stick("ext4", goodFiles(), "ANYMX")
		if r := n.run(); !r.OK() || !strings.Contains(r.Text(), "the ESP has a config too") {
			t.Error(r.Text())
		}
	})
	t.Run("damaged", func(t *testing.T) {
		n := newNode(t)
		device := n.stick("ext4", goodFiles(), "ANYMX")
		f, err := os.OpenFile(device, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(make([]byte, 4096), 0)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if r := n.run(); r.OK() || !strings.Contains(r.Text(), "mount "+device+" as ext4: ") {
			t.Error(r.Text())
		}
	})
	t.Run("a type that is not mounted", func(t *testing.T) {
		n := newNode(t)
		writeTree(t, n.root, map[string]string{"sys/class/block/sdz1/dev": "8:401\n", "run/udev/data/b8:401": "E:ID_FS_LABEL=ANYMX\nE:ID_FS_TYPE=ntfs\n"})
		if r := n.run(); r.OK() || !strings.Contains(r.Text(), `/dev/sdz1 has a file system of type "ntfs"; use vfat`) {
			t.Error(r.Text())
		}
	})
	t.Run("a part of a mirror", func(t *testing.T) {
		n := newNode(t)
		writeTree(t, n.root, map[string]string{
			"sys/class/block/sdz1/dev": "8:401\n", "run/udev/data/b8:401": "E:ID_FS_LABEL=ANYMX\nE:ID_FS_TYPE=vfat\n",
			"sys/class/block/sdz1/holders/md0/dev": "9:0\n",
		})
		if r := n.run(); r.Taken != "" {
			t.Error(r.Text())
		}
	})
}

// A config of lower precedence than sticks is not used while udev has an unprocessed disk, which
// may be a stick. The wait for such a disk is limited.
func TestProvisionSettles(t *testing.T) {
	n := newNode(t)
	n.options.Settle, n.options.Now = time.Minute, nil
	n.esp(goodFiles())
	writeTree(t, n.root, map[string]string{"sys/class/block/sdz1/dev": "8:401\n", "sys/class/block/loop0/dev": "7:0\n"})
	time.AfterFunc(50*time.Millisecond, func() {
		writeTree(t, n.root, map[string]string{"run/udev/data/b8:401": "E:ID_FS_LABEL=ANYMX\nE:ID_FS_TYPE=ntfs\n"})
	})
	if r := n.run(); r.OK() || !strings.Contains(r.Text(), "/dev/sdz1") {
		t.Error(r.Text())
	}
	n.options.Settle = 300 * time.Millisecond
	writeTree(t, n.root, map[string]string{"run/udev/data/b8:401": "", "sys/class/block/sdy1/dev": "8:402\n"})
	if r := n.run(); !r.OK() || r.Source != "ESP" {
		t.Error(r.Text())
	}
}

// A stick that appears while the node waits is used.
func TestProvisionWaits(t *testing.T) {
	n := newNode(t)
	n.options.Wait, n.options.Now = time.Minute, nil
	done := make(chan Report, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		r, err := Run(ctx, n.options)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	aside := filepath.Join(t.TempDir(), "efi")
	writeTree(t, aside+"/anymx", goodFiles())
	if err := os.Rename(aside, n.root+"/efi"); err != nil {
		t.Fatal(err)
	}
	if r := <-done; !r.OK() || r.Source != "ESP" {
		t.Error(r.Text())
	}
}
