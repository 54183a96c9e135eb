package secret

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hush is the content of the test files; no error may show any of it.
const hush = "correct-horse"

func TestRead(t *testing.T) {
	tests := []struct {
		name string
		text string
		mode os.FileMode
		most int
		want string // "" for an error
		says string // what the error says
	}{
		{"plain", hush, 0o600, 64, hush, ""},
		{"newline", hush + "\n", 0o600, 64, hush, ""},
		{"newline of another system", hush + "\r\n", 0o600, 64, hush, ""},
		{"one newline alone is cut", hush + "\n\n", 0o600, 64, hush + "\n", ""},
		{"spaces stay", " " + hush + " \n", 0o600, 64, " " + hush + " ", ""},
		{"a return inside stays", hush + "\r", 0o600, 64, hush + "\r", ""},
		{"group may read", hush, 0o440, 64, hush, ""},
		{"as large as may be", hush, 0o600, len(hush), hush, ""},
		{"newline does not count", hush + "\r\n", 0o600, len(hush), hush, ""},
		{"one too large", hush + "x", 0o600, len(hush), "", "larger than 13 bytes"},
		{"one too large with newline", hush + "x\n", 0o600, len(hush), "", "larger than 13 bytes"},
		{"much too large", strings.Repeat(hush, 1000), 0o600, len(hush), "", "larger than 13 bytes"},
		{"empty", "", 0o600, 64, "", "is empty"},
		{"a newline and no more", "\n", 0o600, 64, "", "is empty"},
		{"others may read", hush, 0o604, 64, "", "mode 0604"},
		{"others may write", hush, 0o602, 64, "", "mode 0602"},
		{"others may execute", hush, 0o601, 64, "", "mode 0601"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, "key", test.text, test.mode)
			got, err := Read(path, test.most)
			check(t, got, err, test.want, test.says)

			// A link is checked like its target.
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			got, err = Read(link, test.most)
			check(t, got, err, test.want, test.says)
		})
	}
}

func TestReadRefusesNonRegularFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	for path, says := range map[string]string{
		dir:                    "not a regular file",
		fifo:                   "not a regular file",
		socket:                 "no such device or address",
		"/dev/zero":            "not a regular file",
		"/dev/null/key":        "not a directory",
		"wg.key":               "must be an absolute path or credential:NAME",
		"":                     "must be an absolute path or credential:NAME",
		"Credential:wg.key":    "must be an absolute path or credential:NAME",
		dir + "/absent":        "no such file",
		dir + "/absent/absent": "no such file",
	} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			got, err := Read(path, 64)
			check(t, got, err, "", says)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("Read(%q) hangs", path)
		}
	}
	if _, err := Read(dir+"/absent", 64); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v, which is not fs.ErrNotExist", err)
	}
}

func TestReadCredential(t *testing.T) {
	path := write(t, "wg.key", hush+"\n", 0o400)
	t.Setenv(directory, filepath.Dir(path))
	got, err := Read("credential:wg.key", 64)
	check(t, got, err, hush, "")
	got, err = Read("credential:absent", 64)
	check(t, got, err, "", "no such file")

	t.Setenv(directory, "")
	got, err = Read("credential:wg.key", 64)
	check(t, got, err, "", "CREDENTIALS_DIRECTORY is not set")
}

func TestLocate(t *testing.T) {
	tests := []struct{ name, credentials, want, says string }{
		{"/etc/anymx/wg.key", "", "/etc/anymx/wg.key", ""},
		{"/etc/anymx/wg.key", "/run/credentials/x", "/etc/anymx/wg.key", ""},
		{"credential:wg.key", "/run/credentials/x", "/run/credentials/x/wg.key", ""},
		{"credential:..wg", "/run/credentials/x", "/run/credentials/x/..wg", ""},
		{"credential:../wg.key", "/run/credentials/x", "", "without a slash"},
		{"credential:/etc/shadow", "/run/credentials/x", "", "without a slash"},
		{"credential:..", "/run/credentials/x", "", "without a slash"},
		{"credential:.", "/run/credentials/x", "", "without a slash"},
		{"credential:", "/run/credentials/x", "", "without a slash"},
		{"credential:wg.key", "credentials", "", "not an absolute path"},
		{"credential:wg.key", "", "", "not set"},
		{"../wg.key", "/run/credentials/x", "", "must be an absolute path"},
	}
	for _, test := range tests {
		got, err := locate(test.name, test.credentials)
		check(t, []byte(got), err, test.want, test.says)
	}
}

// check compares what was read, and looks for secrets in the error.
func check(t *testing.T, got []byte, err error, want, says string) {
	t.Helper()
	if want != "" {
		if err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		return
	}
	if err == nil || len(got) > 0 {
		t.Errorf("got %q, %v, want an error that says %q", got, err, says)
		return
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("the error is %q, want one that says %q", err, says)
	}
	if bytes.Contains([]byte(err.Error()), []byte(hush)) {
		t.Errorf("the error shows the secret: %q", err)
	}
}

// write makes a file with exactly this mode, whatever the umask.
func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}
