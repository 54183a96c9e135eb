package machine

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"anymx/edge/appliance/bundle"
	"anymx/edge/refusal"
)

// Limits of a download.
const (
	maxURL       = 2 << 10 // bytes
	maxRedirects = 5
	connectLimit = 15 * time.Second // for TCP and TLS, each
	headerLimit  = 30 * time.Second // until the server responds
	stallLimit   = time.Minute      // without a byte
	maxFetch     = 3*bundle.MaxFile + 1<<20
	maxComplaint = 4 << 10 // bytes of the child's error message
)

// checkURL returns why a URL is refused.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return nil, fmt.Errorf("the URL is longer than %d bytes", maxURL)
	case err != nil:
		return nil, errors.New("not a valid URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the URL's scheme is %q; it must be http or https", u.Scheme+":")
	case u.Host == "":
		return nil, errors.New("the URL has no host")
	}
	return u, nil
}

// shown returns a URL without secrets.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "an URL"
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}

// Fetch writes the content at a URL to w. It runs in the child: it drops all that it does not need,
// and restricts the process. The reader trusts nothing of its output.
func Fetch(ctx context.Context, text string, w io.Writer) error {
	u, err := checkURL(text)
	if err != nil {
		return err
	}
	if err := writeNothing(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := fetcher()
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "anymx-machine")
	resp, err := c.Do(req)
	if err != nil {
		return urlCause(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the server responded %s", resp.Status)
	}
	stall := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("no data received for %s", stallLimit)) })
	defer stall.Stop()
	body := &countingReader{r: io.LimitReader(resp.Body, maxFetch+1), count: func(int64) { stall.Reset(stallLimit) }}
	n, err := io.Copy(struct{ io.Writer }{w}, body)
	switch {
	case context.Cause(ctx) != nil && err != nil:
		return context.Cause(ctx)
	case err != nil:
		return urlCause(err)
	case n > maxFetch:
		return fmt.Errorf("the download exceeds the limit for updates of %d bytes", int64(maxFetch))
	}
	return nil
}

// writeNothing forbids writing to any file. The unit ensures that nothing that this process runs
// gains privileges.
func writeNothing() error {
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("limit of file sizes: %w", err)
	}
	return nil
}

// fetcher is an HTTP client in which everything has a limit.
func fetcher() *http.Client {
	dial := &net.Dialer{Timeout: connectLimit}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial.DialContext, TLSHandshakeTimeout: connectLimit, ResponseHeaderTimeout: headerLimit,
			DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case len(via) > maxRedirects:
				return fmt.Errorf("more than %d redirects", maxRedirects)
			case via[0].URL.Scheme == "https" && next.URL.Scheme != "https":
				return errors.New("redirect from https to http refused")
			}
			_, err := checkURL(next.URL.String())
			return err
		},
	}
}

// urlCause removes the URL, which may contain a secret, from an error.
func urlCause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// fetch makes the child download a URL, and returns its output. If that ends early, reading returns
// the child's error message.
func (m *Machine) fetch(ctx context.Context, text string) (io.ReadCloser, error) {
	if _, err := checkURL(text); err != nil {
		return nil, refusal.Invalid.Wrap(err)
	}
	command := m.Fetch
	if command == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		command = []string{self, "-fetch"}
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &fetching{cancel: cancel}
	f.cmd = exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], text)...)
	f.cmd.Env = toolEnv
	f.cmd.Dir = "/"
	f.cmd.Stderr = &f.complaint
	f.cmd.WaitDelay = toolGrace
	if m.FetchUser != "" {
		as, err := credential(m.FetchUser)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("fetching: %w", err)
		}
		f.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	}
	var err error
	if f.out, err = f.cmd.StdoutPipe(); err == nil {
		err = f.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("fetching: %w", err)
	}
	return f, nil
}

// credential returns what a user's process has: its own group, and no other.
func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{}}, nil
}

// fetching is a running child.
type fetching struct {
	cmd       *exec.Cmd
	out       io.Reader
	complaint bounded
	cancel    context.CancelFunc
	once      sync.Once
	err       error // how it ended
}

func (f *fetching) Read(p []byte) (int, error) {
	n, err := f.out.Read(p)
	if err != nil {
		if failed := f.wait(); failed != nil {
			return n, failed
		}
	}
	return n, err
}

func (f *fetching) wait() error {
	f.once.Do(func() {
		err := f.cmd.Wait()
		if err == nil {
			return
		}
		text := strings.TrimSpace(f.complaint.String())
		if text == "" {
			text = err.Error()
		}
		f.err = fmt.Errorf("fetching: %s", strings.TrimPrefix(text, "anymx-machine: "))
	})
	return f.err
}

// Close ends the child.
func (f *fetching) Close() error {
	f.cancel()
	_ = f.wait() // Close made it end
	return nil
}

// bounded stores the beginning of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxComplaint-b.Len()))])
	return len(p), nil
}
