package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anymx/edge/operate/control/controltest"
)

func TestConsoleIdle(t *testing.T) {
	s := stage{node: controltest.New(), kind: "linux", config: "[console]\nidle_timeout = '300ms'\n",
		files: map[string]string{"journal": "#!/bin/sh\necho \"$@\"\nexec sleep 60\n"}}.sit(t)
	s.sees("ams1> ")
	s.types("half a line")
	s.sees("\x1b[H\x1b[2J") // clears the screen
	s.sees("ams1> ")
	s.types("log -f bgp\r")
	s.sees("--follow --unit=anymx-bgp.service")
	s.sees("\x1b[H\x1b[2J")
	s.sees("ams1> ")
	s.types("watch\r")
	s.sees("Sessions ")
	s.sees("\x1b[H\x1b[2J\r\n") // then comes the banner
	s.sees("ams1> ")
}

// The time without a key also comes from the config, from the next line on.
func TestConsoleIdleChanges(t *testing.T) {
	s := stage{node: controltest.New(), kind: "linux", config: "[console]\nidle_timeout = '1h'\n"}.sit(t)
	s.sees("ams1> ")
	config, err := os.ReadFile(filepath.Join(s.dir, "anymx.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("new", strings.Replace(string(config), "'1h'", "'300ms'", 1), 0o600)
	if err := os.Rename(filepath.Join(s.dir, "new"), filepath.Join(s.dir, "anymx.toml")); err != nil {
		t.Fatal(err)
	}
	s.types("\r")
	s.sees("ams1> ")
	s.types("half a line")
	s.sees("\x1b[H\x1b[2J")
	s.sees("ams1> ")
}
