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
	Name     string // of the node; "": no config says it
	Hostname string
	Mode     string        // one of those of config.Console
	Idle     time.Duration // 0: for ever
	Missing  bool          // there is no config
}

// fileSettings reads settings from the config file at path, again when it has
// changed. It may be used by several at once.
type fileSettings struct {
	path string

	mu   sync.Mutex
	seen os.FileInfo // of what was read last; nil: nothing
	last settings
}

// get reads the settings. Nothing else of the file has to be right. What can't be
// read stays as it was read before; what never could be is the default, as whoever
// sits at the machine has its power button anyway. But a mode that is none of those
// there are was meant to forbid something, and lets nobody change anything.
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

// settingsIn finds them in the text of a config. The error is about its syntax.
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
		if idle == 0 { // the one that needs no unit
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
