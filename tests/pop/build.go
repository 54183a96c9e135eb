package pop

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// linked is the directory that Build has made; "" if it was not called. It is
// read when all tests have ended.
var linked string

var build = sync.OnceValues(func() (string, error) {
	top, err := moduleRoot()
	if err != nil {
		return "", err
	}
	kept := filepath.Join(top, "bin", ".test")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(kept, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock of %s: %w", kept, err)
	}
	// With the flags of the Makefile, also where tests run under the race detector, which
	// is linked with C: otherwise everything would be compiled a second time.
	// The tag lets a test set a program's clock (edge/service), and changes nothing else.
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "anymx_testclock", "-ldflags", "-s -w", "-o", kept, "./cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	if linked, err = os.MkdirTemp("", "anymx-bin"); err != nil {
		return "", err
	}
	if err := os.Chmod(linked, 0o755); err != nil { // tests run programs as other users
		return "", err
	}
	programs, err := os.ReadDir(filepath.Join(top, "cmd"))
	if err != nil {
		return "", err
	}
	for _, p := range programs {
		if err := link(filepath.Join(kept, p.Name()), filepath.Join(linked, p.Name())); err != nil {
			return "", err
		}
	}
	return linked, nil
})

// moduleRoot returns the folder of the go.mod file above the working directory, which
// for tests is their package's. Binaries built with -trimpath don't know their sources.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in the working directory or above it")
		}
		dir = parent
	}
}

// link makes to the file that from is now, whatever becomes of from.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from) // on another file system
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Build builds the programs, once for a test binary, and returns the directory
// that they are in. What was built stays in bin/.test, so that the next test
// binary has nothing to link: that costs many times what most tests take. The
// package's TestMain must call Main, which removes the directory.
func Build(t testing.TB) string {
	t.Helper()
	dir, err := Programs()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Programs does what Build does, for a TestMain.
func Programs() (string, error) { return build() }

// MainOf builds the programs, sets binary to the path of the one with this name, and runs a
// package's tests as Main does.
func MainOf(m *testing.M, name string, binary *string) int {
	dir, err := build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	*binary = filepath.Join(dir, name)
	return Main(m)
}

// Main runs a package's tests and removes what Build has made for them.
func Main(m *testing.M) int {
	code := m.Run()
	if linked != "" {
		_ = os.RemoveAll(linked)
	}
	return code
}
