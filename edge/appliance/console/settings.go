package console

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pelletier/go-toml/v2"

	"anymx/edge/config"
)

// settings are what the console itself reads from the node's config.
type settings struct {
	Name     string // of the node; "": not configured
	Hostname string
	Mode     string        // one of those of config.Console
	Idle     time.Duration // 0: forever
	Missing  bool          // there is no config
}

// fileSettings reads settings from the config file at path, again when it has changed. It is safe
// for concurrent use.
type fileSettings struct {
	path string

	mu   sync.Mutex
	seen os.FileInfo // of the last read; nil: none
	last settings
}

// get reads the settings. The rest of the file may be invalid. An unreadable setting keeps its last
// value; without one it has its default, since whoever is at the machine has its power button
// anyway. But an unknown mode was meant to forbid something, so it allows no changes.
func (f *fileSettings) get() settings {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.seen, f.last = nil, standardSettings()
		f.last.Missing = true
		return f.last
	case err == nil && f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size():
		return f.last
	}
	text, err := os.ReadFile(f.path)
	if err == nil {
		var s settings
		if s, err = settingsIn(text); err == nil {
			f.seen, f.last = info, s
			return s
		}
	}
	if f.seen == nil {
		f.last = standardSettings()
	}
	return f.last
}

func standardSettings() settings {
	c := config.Default().Console
	return settings{Mode: c.Mode, Idle: time.Duration(c.IdleTimeout)}
}

// settingsIn parses the settings in the text of a config. The error is about its syntax.
func settingsIn(text []byte) (settings, error) {
	var c struct {
		Node struct {
			Name     any `toml:"name"`
			Hostname any `toml:"hostname"`
		} `toml:"node"`
		Console struct {
			Mode any `toml:"mode"`
			Idle any `toml:"idle_timeout"`
		} `toml:"console"`
	}
	if err := toml.Unmarshal(text, &c); err != nil {
		return settings{}, err
	}
	s := standardSettings()
	s.Name, _ = c.Node.Name.(string)
	s.Hostname, _ = c.Node.Hostname.(string)
	if c.Console.Mode != nil {
		mode, _ := c.Console.Mode.(string)
		s.Mode = mode
		if !slices.Contains([]string{config.ConsoleOperate, config.ConsoleView, config.ConsoleOff}, mode) {
			s.Mode = config.ConsoleView
		}
	}
	switch idle := c.Console.Idle.(type) {
	case int64:
		if idle == 0 { // the only duration without a unit
			s.Idle = 0
		}
	case string:
		var d config.Duration
		if d.UnmarshalText([]byte(idle)) == nil && d >= 0 {
			s.Idle = time.Duration(d)
		}
	}
	return s, nil
}
