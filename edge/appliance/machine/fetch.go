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
)

// Limits of a fetch.
const (
	maxURL       = 2 << 10 // octets
	maxRedirects = 5
	connectLimit = 15 * time.Second // TCP, and TLS, each
	headerLimit  = 30 * time.Second // until the server answers
	stallLimit   = time.Minute      // without one octet
	maxFetch     = 3*bundle.MaxFile + 1<<20
	maxComplaint = 4 << 10 // octets of what the child says
)

// checkURL says why an URL is not fetched.
func checkURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return nil, fmt.Errorf("the URL has more than %d octets", maxURL)
	case err != nil:
		return nil, errors.New("it is no URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("the URL begins with %q, and its scheme must be http or https", u.Scheme+":")
	case u.Host == "":
		return nil, errors.New("the URL names no host")
	}
	return u, nil
}

// shown is an URL without what is secret in it.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "an URL"
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}

// Fetch writes what is behind an URL to w. It is the child: it gives up what it
// does not need, and holds the process to that from now on. Nothing of what it
// brings is trusted by the one who reads it.
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
		return fmt.Errorf("the server answers %s", resp.Status)
	}
	stall := time.AfterFunc(stallLimit, func() { cancel(fmt.Errorf("nothing has come for %s", stallLimit)) })
	defer stall.Stop()
	body := &countingReader{r: io.LimitReader(resp.Body, maxFetch+1), count: func(int64) { stall.Reset(stallLimit) }}
	n, err := io.Copy(struct{ io.Writer }{w}, body)
	switch {
	case context.Cause(ctx) != nil && err != nil:
		return context.Cause(ctx)
	case err != nil:
		return urlCause(err)
	case n > maxFetch:
		return fmt.Errorf("it is larger than an update can be (%d octets)", int64(maxFetch))
	}
	return nil
}

// writeNothing gives up writing to files, of whoever they are. That nothing that
// this process runs comes to privileges is what its unit says.
func writeNothing() error {
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("limit of file sizes: %w", err)
	}
	return nil
}

// fetcher is an HTTP client with limits in all its parts.
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
				return errors.New("it redirects from https to http")
			}
			_, err := checkURL(next.URL.String())
			return err
		},
	}
}

// urlCause takes the URL, which may have a secret in it, out of an error.
func urlCause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// fetch has the child fetch an URL. What comes is read from what it returns;
// instead of an early end there is the child's own complaint.
func (m *Machine) fetch(ctx context.Context, text string) (io.ReadCloser, error) {
	if _, err := checkURL(text); err != nil {
		return nil, refused(err)
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

// credential is what a process of a user has: its own group, and no other.
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

// fetching is a child that fetches.
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
	_ = f.wait() // it was told to end
	return nil
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxComplaint-b.Len()))])
	return len(p), nil
}
