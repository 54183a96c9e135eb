package kit

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
)

// Golden compares got with the content of file. With update it writes got to the file first.
func Golden(t testing.TB, file, got string, update bool) {
	t.Helper()
	if update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run the test with -update, and read the diff. Got:\n%s\nwant:\n%s", file, got, want)
	}
}

// ReadBody returns the body of an HTTP response, and closes it.
func ReadBody(t testing.TB, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Tool returns the path of an external program from the Debian package pkg. Where it is not
// installed the test is skipped.
func Tool(t testing.TB, name, pkg string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Skipf("%s is not here (package %s)", name, pkg)
	return ""
}
