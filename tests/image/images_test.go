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

// The versions that are built. In the broken one, only the mail program fails: it exits at once.
const (
	first, second, broken = "0.0.1", "0.0.2", "0.0.3"
)

// images are the images of one test run.
type images struct {
	once sync.Once
	dir  string // directory of the built files
	keep bool   // it existed before
	err  error
}

var theImages images

// built builds the images of the first two versions, once, and returns their directory.
// ANYMX_TEST_IMAGES names a persistent directory; images that it already contains are not rebuilt.
func built(t *testing.T) string {
	t.Helper()
	needs(t)
	theImages.once.Do(func() { theImages.err = theImages.build(t) })
	if theImages.err != nil {
		t.Fatal(theImages.err)
	}
	return theImages.dir
}

// needs skips the test if the image can't be built and booted here.
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

// builtBroken builds the broken version's image in the same directory.
func builtBroken(t *testing.T) {
	t.Helper()
	must(t, theImages.buildVersion(t, broken))
}

func (i *images) build(t *testing.T) (err error) {
	if i.dir = os.Getenv("ANYMX_TEST_IMAGES"); i.dir != "" {
		i.keep = true
		i.dir, err = filepath.Abs(i.dir)
	} else {
		i.dir, err = os.MkdirTemp("", "anymx-images")
	}
	if err != nil {
		return err
	}
	return errors.Join(i.buildVersion(t, first), i.buildVersion(t, second))
}

// buildVersion builds the image of a version, unless it exists.
func (i *images) buildVersion(t *testing.T, version string) error {
	if _, err := os.Stat(filepath.Join(i.dir, "anymx_"+version+".sha256")); err == nil { // written last
		return nil
	}
	args := []string{"--version", version, "--plain", "--output", i.dir}
	if version != broken {
		return buildImage(t, args...)
	}
	unit := filepath.Join(i.dir, "broken", "usr/lib/systemd/system/anymx-edge.service.d/broken.conf")
	err := errors.Join(os.MkdirAll(filepath.Dir(unit), 0o755),
		os.WriteFile(unit, []byte("[Service]\nExecStart=\nExecStart=/usr/bin/false\n"), 0o644))
	if err != nil {
		return err
	}
	return buildImage(t, append(args, "--extra", filepath.Join(i.dir, "broken"))...)
}

// buildImage runs image/build from this source tree.
func buildImage(t *testing.T, args ...string) error {
	began := time.Now()
	cmd := exec.Command("../../image/build", args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("image/build %v: %w\n%s", args, err, said.Bytes())
	}
	t.Logf("image/build %v took %.0f s", args[:2], time.Since(began).Seconds())
	return nil
}

func (i *images) remove() {
	if !i.keep && i.dir != "" {
		_ = os.RemoveAll(i.dir)
	}
}

// disk returns the file of a version's image, and bundle that of its update.
func disk(dir, version string) string   { return filepath.Join(dir, "anymx_"+version+".raw") }
func bundle(dir, version string) string { return filepath.Join(dir, "anymx_"+version+"_amd64.update") }

func base(name string) string { return filepath.Base(name) }
