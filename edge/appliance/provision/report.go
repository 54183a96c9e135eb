package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"anymx/edge/config"
	"anymx/edge/statefile"
)

// Report is the outcome of provisioning. It contains no secret, because it is shown on the console
// and to anyone who can reach the node.
type Report struct {
	At time.Time `json:"at"`
	// Source is where the config in force comes from, in one line, such as "file system ANYMX on
	// /dev/sdb1"; "": none is in force.
	Source string `json:"source"`
	// InForce means that a valid config is in force, either the one that was found or the previous
	// one.
	InForce bool `json:"in_force"`
	// Looked are the sources in their order, with the result of each.
	Looked []Look `json:"looked"`
	// Taken is the source whose config was used, good or bad; "": none had one.
	Taken string `json:"taken"`
	// Problems are what is wrong with that config, in the order of anymx.toml.
	Problems []config.Problem `json:"problems"`
	// Missing are files that are missing or broken at boot: the node runs without what each of them
	// is for. Once a config is in force they are Problems of the next one.
	Missing []config.Problem `json:"missing"`
	// Notes are hints that stop nothing.
	Notes []string `json:"notes"`
	// Changed is what differs from the last time.
	Changed Changed `json:"changed"`
	// Network are the files that systemd-networkd got.
	Network []string `json:"network"`
}

// Look is the result of reading one source.
type Look struct {
	Source string `json:"source"` // such as "ESP"
	Found  string `json:"found"`  // as text
}

// Changed names the files that were added, replaced or removed, by their names in the bundle
// ("tls/cert.pem"). Secrets are named, never shown.
type Changed struct {
	Config      []string `json:"config"`      // reload or restart the programs
	Credentials []string `json:"credentials"` // restart the programs: systemd passes secrets at start
	Network     []string `json:"network"`     // reload systemd-networkd
}

// Any reports whether anything changed.
func (c Changed) Any() bool { return len(c.Config)+len(c.Credentials)+len(c.Network) > 0 }

// OK reports whether a config was found and is good.
func (r *Report) OK() bool { return r.Taken != "" && len(r.Problems) == 0 }

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// record puts what was found into the report, with its problems. At boot, when no config is in
// force, a missing file affects only what it is for: a node that accepts mail without it is better
// than one that accepts none.
func (r *Report) record(f *found, o Options, boot bool) {
	r.Missing = []config.Problem{}
	r.Problems, r.Notes = []config.Problem{}, append([]string{}, f.notes...)
	r.Network, r.Changed = []string{}, Changed{[]string{}, []string{}, []string{}}
	r.Taken = f.source
	switch {
	case f.source == "":
		return
	case f.err != nil:
		r.Problems = append(r.Problems, config.Problem{Reason: f.err.Error()})
		return
	}
	c := Check(f.bundle, CheckOptions{Now: r.At, Credential: o.systemCredential})
	if boot && c.startable() {
		r.Missing = append(r.Missing, c.Problems...)
	} else {
		r.Problems = append(r.Problems, c.Problems...)
	}
	r.Notes = append(r.Notes, c.Notes...)
	if r.OK() {
		r.Source, r.InForce = r.Taken, true
	}
}

// Text returns the report as text, some lines with a newline at the end of each.
func (r *Report) Text() string {
	var b strings.Builder
	b.WriteString(r.headline() + "\n")
	if len(r.Problems) > 0 {
		fmt.Fprintf(&b, "\nProblems of the config from the %s:\n", r.Taken)
		for _, p := range r.Problems {
			fmt.Fprintf(&b, "  %s\n", clean(p.Error()))
		}
	}
	if len(r.Missing) > 0 {
		b.WriteString("\nMissing or broken files; the node runs without them until they are corrected:\n")
		for _, p := range r.Missing {
			fmt.Fprintf(&b, "  %s\n", clean(p.Error()))
		}
	}
	if !r.OK() || len(r.Notes) > 0 {
		b.WriteString("\nSources, in this order:\n")
		for _, l := range r.Looked {
			fmt.Fprintf(&b, "  %-22s %s\n", l.Source, clean(l.Found))
		}
	}
	if len(r.Notes) > 0 {
		b.WriteString("\nNotes:\n")
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "  %s\n", clean(n))
		}
	}
	if !r.OK() {
		b.WriteString("\nWhat to do:\n" + r.advice())
	}
	return b.String()
}

func (r *Report) headline() string {
	switch {
	case r.OK() && len(r.Missing) > 0:
		return "anymx: the config is from the " + r.Source + "; some of its files are missing or broken."
	case r.OK():
		return "anymx: the config is from the " + r.Source + "; no problem found."
	case r.InForce && r.Taken == "":
		return "anymx: no config was found. The one from the " + r.Source + " stays in force."
	case r.InForce:
		return "anymx: the config from the " + r.Taken + " is invalid. The one from the " + r.Source + " stays in force."
	case r.Taken == "":
		return "anymx: this node has no config. It accepts no mail and announces no routes."
	}
	return "anymx: this node has no valid config. It accepts no mail and announces no routes."
}

// advice returns lines about what to do.
func (r *Report) advice() string {
	if r.Taken == "" {
		return `  Put anymx.toml, and the files that it names, on a USB stick whose file system is
  labelled ANYMX (mkfs.vfat -n ANYMX), plug it in, and type provision at the console,
  or reboot the node. Or write it into the image before flashing: anymx image config
  FOLDER IMAGE.
`
	}
	if strings.HasPrefix(r.Taken, "credential ") {
		return `  Correct it where it comes from: a credential takes precedence over everything else. Then reboot
  the node. On any machine, anymx image config FOLDER --dry-run checks a whole folder
  before that.
`
	}
	return `  Correct it, and provide it again: the way it came, or on a USB stick labelled
  ANYMX, which takes precedence over the ESP. Then type provision at the console, or reboot the
  node. On any machine, anymx image config FOLDER --dry-run checks a whole folder
  before that.
`
}

// clean makes text safe for a terminal, on one line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069:
			return '?'
		}
		return r
	}, s)
}

// Files beside the config that describe where it came from.
const (
	sourceFile  = "source"      // Report.Source, in one line
	problemFile = "problem"     // Report.Text, unless a config is in force
	reportFile  = "report.json" // the Report
	routesFile  = "wants-bgp"   // empty; exists if the config needs anymx-bgp (ConditionPathExists= of its unit)
)

const maxReport = 4 << 20 // bytes

// Last reads the report of the last Run that installed something, below root, which is "" on a
// node. The error wraps fs.ErrNotExist if there was none since boot.
func Last(root string) (Report, error) {
	var r Report
	text, err := statefile.File(filepath.Join(root+configDir, reportFile)).Read(maxReport)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return Report{}, fmt.Errorf("report of provisioning: %w", err)
	}
	return r, nil
}

// placed is the result of an earlier Run.
type placed struct {
	Report
	Config bool // an anymx.toml is in force
}

// readPlaced reads what is in force.
func readPlaced(root string) (placed, error) {
	var p placed
	switch _, err := os.Lstat(filepath.Join(root+configDir, configFile)); {
	case err == nil:
		p.Config = true
	case !errors.Is(err, fs.ErrNotExist):
		return p, fmt.Errorf("provision: %w", err)
	}
	// An unreadable report counts as none: files of systemd-networkd that only it listed stay until
	// the next boot.
	p.Report, _ = Last(root)
	if p.Config && p.Source == "" {
		p.Source = "last boot or run"
	}
	return p, nil
}
