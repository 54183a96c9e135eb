package machine

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
)

// site serves the pages of a test.
func site(t *testing.T, pages map[string]http.HandlerFunc) string {
	t.Helper()
	mux := http.NewServeMux()
	for path, page := range pages {
		mux.HandleFunc(path, page)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func TestUpdateByURL(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	good := w.bundle("0.6.0")
	url := site(t, map[string]http.HandlerFunc{
		"/good": func(out http.ResponseWriter, _ *http.Request) { out.Write(good) },
		"/moved": func(out http.ResponseWriter, r *http.Request) {
			http.Redirect(out, r, "/good?secret=x", http.StatusFound)
		},
		"/loop": func(out http.ResponseWriter, r *http.Request) { http.Redirect(out, r, "/loop", http.StatusFound) },
		"/else": func(out http.ResponseWriter, r *http.Request) {
			http.Redirect(out, r, "file:///etc/passwd", http.StatusFound)
		},
		"/page": func(out http.ResponseWriter, _ *http.Request) {
			io.WriteString(out, "<html>"+strings.Repeat("not here ", 200))
		},
		"/short": func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Content-Length", "2000000")
			out.Write(good[:len(good)/2])
		},
	})
	for path, want := range map[string]string{
		"/none": "the server responded 404 Not Found", "/loop": "more than 5 redirects", "/page": "not a tar archive",
		"/else": `scheme is "file:"`, "/short": "unexpected EOF",
	} {
		_, _, err := end(c.Update(t.Context(), api.UpdateRequest{URL: url + path}, nil, 0))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, _, err := end(c.Update(t.Context(), api.UpdateRequest{URL: "http://127.0.0.1:1/x"}, nil, 0)); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	w.entries("anymx_0.5.0+3.efi")
	walked, _, err := end(c.Update(t.Context(), api.UpdateRequest{URL: url + "/moved"}, nil, 0))
	if err != nil || len(walked) != 5 {
		t.Errorf("%v, %v", walked, err)
	}
	w.holds("0.6.0")
	if strings.Contains(w.log.String(), "secret") {
		t.Error("the log holds a query")
	}
}

// A client that disconnects during the download ends the child.
func TestFetchIsEnded(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	reached, gone := make(chan struct{}), make(chan struct{})
	url := site(t, map[string]http.HandlerFunc{"/slow": func(out http.ResponseWriter, r *http.Request) {
		http.NewResponseController(out).Flush()
		close(reached)
		<-r.Context().Done()
		close(gone)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := end(c.Update(ctx, api.UpdateRequest{URL: url + "/slow"}, nil, 0))
		ended <- err
	}()
	<-reached
	cancel()
	<-ended
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Error("the child goes on")
	}
	w.idle(c)
}

// The child can't write to any file.
func TestFetchWritesNothing(t *testing.T) {
	if os.Getenv("ANYMX_TEST_ALONE") == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, "-test.run=TestFetchWritesNothing$", "-test.v")
		cmd.Env = append(os.Environ(), "ANYMX_TEST_ALONE=1", "GORACE=atexit_sleep_ms=0")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "file too large") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := writeNothing(); err != nil {
		t.Fatal(err)
	}
	err := os.WriteFile(t.TempDir()+"/f", []byte("x"), 0o600)
	if err == nil {
		t.Error("a file was written")
	}
	t.Log(err)
}

// The child runs as another user, without further groups, and gets nothing of our environment.
func TestFetchUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run a program as somebody else")
	}
	w := newWorld(t)
	w.options.FetchUser = "nobody"
	w.options.Fetch = []string{"/bin/sh", "-c", "id -un; id -Gn; pwd; env | grep -c ANYMX"}
	t.Setenv("ANYMX_SECRET", "x")
	m, err := newMachine(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	f, err := m.fetch(t.Context(), "http://127.0.0.1/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, _ := io.ReadAll(f) // grep's exit code is an error when it finds nothing
	if string(text) != "nobody\nnogroup\n/\n0\n" {
		t.Errorf("%q", text)
	}
	m.FetchUser = "nobody-of-that-name"
	if _, err := m.fetch(t.Context(), "http://127.0.0.1/"); err == nil || !strings.Contains(err.Error(), "nobody-of-that-name") {
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://example.net/a": true, "http://[2001:db8::1]:8080/": true, "ftp://example.net/a": false, "/a": false, "https:///a": false,
		"http://" + strings.Repeat("a", maxURL): false, "http://exa mple": false, "": false,
	} {
		if _, err := checkURL(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	if got := shown("https://me:pass@example.net/a?key=b#c"); strings.Contains(got, "pass") || strings.Contains(got, "key") || !strings.Contains(got, "example.net/a") {
		t.Error(got)
	}
}

func TestRedirects(t *testing.T) {
	c := fetcher()
	from, to := httptest.NewRequest("GET", "https://example.net/", nil), httptest.NewRequest("GET", "http://example.net/", nil)
	if err := c.CheckRedirect(to, []*http.Request{from}); err == nil {
		t.Error("from https to http")
	}
	if err := c.CheckRedirect(from, []*http.Request{to}); err != nil {
		t.Error(err)
	}
}
