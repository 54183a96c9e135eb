package image

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Versions that are built. The broken one is as good as the others, but that its
// mail program ends at once.
const (
	first, second, broken = "0.0.1", "0.0.2", "0.0.3"
)

// images are those of one run.
type images struct {
	once sync.Once
	dir  string // what is built is in there
	keep bool   // it was there before
	err  error
}

var theImages images

// built builds the images, once, and returns the directory with them.
// ANYMX_TEST_IMAGES names one that has them already.
func built(t *testing.T) string {
	t.Helper()
	needs(t)
	theImages.once.Do(func() { theImages.err = theImages.build(t) })
	if theImages.err != nil {
		t.Fatal(theImages.err)
	}
	return theImages.dir
}

// needs skips where the image can't be built and booted.
func needs(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: the image is built and the lab is made by it")
	}
	for program, from := range map[string]string{
		"mmdebstrap": "mmdebstrap", "qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "zstd": "zstd",
		"bird": "bird2", "wireguard-go": "wireguard-go", "ssh-keygen": "openssh-client", "mcopy": "mtools", "mkfs.vfat": "dosfstools",
	} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if _, err := os.Stat("/usr/sbin/" + program); err != nil {
			t.Skipf("needs %s (package %s)", program, from)
		}
	}
	if _, err := os.Stat("/usr/share/OVMF"); err != nil {
		t.Skip("needs UEFI firmware (package ovmf)")
	}
}

func (i *images) build(t *testing.T) (err error) {
	if i.dir = os.Getenv("ANYMX_TEST_IMAGES"); i.dir != "" {
		i.keep = true
		i.dir, err = filepath.Abs(i.dir)
		return err
	}
	if i.dir, err = os.MkdirTemp("", "anymx-images"); err != nil {
		return err
	}
	unit := filepath.Join(i.dir, "broken", "usr/lib/systemd/system/anymx-edge.service.d/broken.conf")
	err = errors.Join(os.MkdirAll(filepath.Dir(unit), 0o755),
		os.WriteFile(unit, []byte("[Service]\nExecStart=\nExecStart=/usr/bin/false\n"), 0o644))
	if err != nil {
		return err
	}
	for _, args := range [][]string{{"--version", first, "--plain"}, {"--version", second, "--plain"}, {"--version", broken, "--plain", "--extra", filepath.Join(i.dir, "broken")}} {
		began := time.Now()
		if err := buildImage(append(args, "--output", i.dir)...); err != nil {
			return err
		}
		t.Logf("image/build %v took %.0f s", args[:2], time.Since(began).Seconds())
	}
	return nil
}

// buildImage runs image/build, of this tree.
func buildImage(args ...string) error {
	cmd := exec.Command("../../image/build", args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("image/build %v: %w\n%s", args, err, said.Bytes())
	}
	return nil
}

func (i *images) remove() {
	if !i.keep && i.dir != "" {
		_ = os.RemoveAll(i.dir)
	}
}

// disk is the file of a version's image, bundle of its update.
func disk(dir, version string) string   { return filepath.Join(dir, "anymx_"+version+".raw") }
func bundle(dir, version string) string { return filepath.Join(dir, "anymx_"+version+"_amd64.update") }

func base(name string) string { return filepath.Base(name) }
