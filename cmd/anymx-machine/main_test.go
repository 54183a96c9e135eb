package main

import (
	"net"
	"strings"
	"testing"

	"anymx/edge/service"
)

func TestFlags(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"version":      {args: []string{"-version"}, stdout: service.Version()},
		"help":         {args: []string{"-h"}, stderr: "install the node's config, once"},
		"unknown flag": {args: []string{"-x"}, code: 2, stderr: "flag provided but not defined: -x"},
		"no flag":      {args: []string{"x"}, code: 2, stderr: `"x" is not a flag`},
		"bad URL":      {args: []string{"-fetch", "file:///etc/passwd"}, code: 1, stderr: `anymx-machine: the URL's scheme is "file:"`},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if code := run(test.args, &stdout, &stderr); code != test.code {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("--- stdout\n%s--- stderr\n%s", stdout.String(), stderr.String())
			}
		})
	}
}

// The address for -trouble may already be in use.
func TestTroubleAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stdout, stderr strings.Builder
	if code := run([]string{"-trouble", "-listen", l.Addr().String()}, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "address already in use") {
		t.Errorf("%d: %s", code, stderr.String())
	}
}
