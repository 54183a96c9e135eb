package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// Facts are the content of the banner.
type Facts struct {
	Version  string
	Name     string // of the node; "": not configured
	Hostname string
	Mode     string   // one of those of config.Console
	Source   string   // where the config came from, in a line; "": not known
	Problem  []string // lines about why there is no valid config; nil: there is none to tell
	Devices  []Device
	// Status is nil if the node did not respond; Silence is the reason then.
	Status  *api.Status
	Silence string
}

// Limits of the banner's sources.
const (
	factsTime  = 2 * time.Second // for the node's answer
	maxProblem = 16 << 10        // bytes of the problem that are read
	maxSource  = 1 << 10
)

// gather collects the facts. It takes little more than factsTime at most.
func (c *Console) gather(ctx context.Context) Facts {
	s := c.settings.get()
	f := Facts{Version: c.Version, Name: s.Name, Hostname: s.Hostname, Mode: s.Mode}
	f.Source, f.Problem = c.Provisioned()
	f.Devices, _ = Devices() // a banner without them is better than none
	if s.Missing {
		f.Silence = "there is no config"
		return f
	}
	soon, cancel := context.WithTimeout(ctx, factsTime)
	defer cancel()
	status, err := c.Status(soon)
	if err != nil {
		f.Silence = silence(err)
		return f
	}
	f.Status = &status
	return f
}

// silence says why the node did not respond, without advice that requires a shell.
func silence(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "anymx-edge is not up yet"
	case errors.Is(err, fs.ErrPermission):
		return "the console may not ask anymx-edge: " + words.Clean(err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return "anymx-edge gives no answer in time"
	}
	return "anymx-edge does not answer"
}

// Provisioned returns where the node's config came from, and what is wrong with an invalid one,
// from the files that provisioning leaves. Missing files are empty.
func (c *Console) Provisioned() (source string, problem []string) {
	source, _, _ = strings.Cut(readSome(c.SourceFile, maxSource), "\n")
	for line := range strings.Lines(readSome(c.ProblemFile, maxProblem)) {
		problem = append(problem, words.Clean(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\t", "    ")))
	}
	return words.Clean(strings.TrimSpace(source)), problem
}

// readSome reads up to most bytes of a file; nothing if it can't be read.
func readSome(path string, most int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return ""
	}
	return string(text)
}

// ready reports that the banner has nothing more to wait for.
func (f *Facts) ready() bool { return f.Status != nil && f.Status.Ready.OK }

// headline changes when a banner that nobody has reacted to should be drawn again.
func (f *Facts) headline() string {
	text := fmt.Sprintf("%q %q %q %q %v", f.Name, f.Mode, f.Source, f.Problem, f.ready())
	for _, d := range f.Devices {
		if d.Loopback || len(d.Addresses) == 0 {
			continue
		}
		text += fmt.Sprintf(" %s %v", d.Name, d.Addresses)
	}
	return text
}
