package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"anymx/tests/lab"
)

// place is where a shell can be opened.
type place struct {
	role, name string
	hint       string // printed when it opens
	functions  string // shell functions that it has
}

const nodeHint = `Try
  anymx status
  anymx shield status
  anymx drain --wait 1m --reason "new kernel"
  anymx resume
  ip address show dev lo; ip route          # what anymx-net has made
  ls $LAB/log                               # what the programs say
To crash a program and start it again:
  lab-pids                                  # then: kill -9 PID
  lab-start anymx-edge                      # or anymx-bgp, anymx-net
`

const clientHint = `Try
  who-answers                               # which PoP a connection reaches now
  while sleep 1; do who-answers; done
  lab-calls 20s                             # 100 connections a second: how long until the banner?
  lab-send                                  # one message to b@example.net; core has it in
                                            # $LAB/core/store/mail/example.net/b/new
`

var places = []place{
	{role: "a", name: "PoP a", hint: nodeHint, functions: nodeFunctions},
	{role: "b", name: "PoP b", hint: nodeHint, functions: nodeFunctions},
	{role: "client-a", name: "client-a, behind r1", hint: clientHint, functions: clientFunctions},
	{role: "client-b", name: "client-b, behind r2", hint: clientHint, functions: clientFunctions},
	{role: "r1", name: "r1, which runs BIRD", hint: `Try
  birdc show protocols
  birdc show route all 192.0.2.0/24
  ip monitor route                          # as the kernel's routes change
  lab-flood syn 15s 200000                  # flood PoP a from forged sources; without a rate: all that is possible
  lab-flood ack 15s
`, functions: `birdc() { command birdc -s "$LAB/bird-r1.ctl" "$@"; }
lab-flood() { "$LAB_UP" flood "$@"; }`},
	{role: "r2", name: "r2, which runs FRR", hint: `Try
  vtysh -c 'show bgp summary'
  vtysh -c 'show bgp ipv4 unicast 192.0.2.0/24'
  ip monitor route                          # as the kernel's routes change
`, functions: `vtysh() { command vtysh --vty_socket "$LAB/frr" "$@"; }`},
	{role: "core", name: "core", hint: `Try
  wg                                        # both tunnels
  ip link set eth0 down                     # core is away; mail waits in the PoPs
  ip link set eth0 up; ip route add default via 203.0.113.1
  ls $LAB/core/store/mail/example.net       # mailboxes
`},
}

// The functions are for bash.
const (
	nodeFunctions = `
lab-pids() { for pid in $(ip netns pids "$LAB_NAMESPACE"); do
	case $(cat /proc/$pid/comm 2>/dev/null) in anymx-*) echo "$pid $(cat /proc/$pid/comm)";; esac; done; }
lab-start() { "$LAB_UP" start "$LAB_ROLE" "$1"; }`
	clientFunctions = `
lab-calls() { "$LAB_UP" calls "$@"; }
who-answers() { local at line; for at in 192.0.2.25 2001:db8:25::25; do
	if exec 3<>/dev/tcp/$at/25 && read -r -t 5 line <&3; then echo "$at: $line"; printf 'QUIT\r\n' >&3; else echo "$at: nobody"; fi; exec 3>&-; done; }
lab-send() { local line; exec 3<>/dev/tcp/192.0.2.25/25 || return
	printf 'EHLO client.example.com\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n' >&3
	while read -r -t 5 line <&3; do echo "$line"; case $line in 354*) break;; 4*|5*) exec 3>&-; return 1;; esac; done
	printf 'From: a@example.com\r\nSubject: from the lab\r\n\r\nHello.\r\n.\r\nQUIT\r\n' >&3
	while read -r -t 5 line <&3; do echo "$line"; done; exec 3>&-; }`
)

// shell runs bash in a place of the person's lab as a child process, so that its temporary files
// are removed when it ends.
func shell(ctx context.Context, role string) error {
	i := slices.IndexFunc(places, func(p place) bool { return p.role == role })
	if i < 0 {
		var all []string
		for _, p := range places {
			all = append(all, p.role)
		}
		return fmt.Errorf("there is no place %q; POP is one of %s", role, strings.Join(all, ", "))
	}
	if !lab.There(lab.Person) {
		return errors.New("there is no lab; `make lab` brings it up")
	}
	p, dir := places[i], lab.Dir(lab.Person)
	file, err := os.CreateTemp("", "anymx-lab")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = fmt.Fprintf(file, "PS1='%s# '\n%s\n", role, p.functions)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	fmt.Printf("You are in %s of the lab. `exit` leaves it.\n\n%s\n", p.name, p.hint)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	name := lab.SpaceName(lab.Person, role)
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", name, "bash", "--rcfile", file.Name(), "-i")
	cmd.Cancel = func() error { return nil } // Ctrl-C goes to the shell
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "LAB="+dir, "LAB_ROLE="+role, "LAB_NAMESPACE="+name, "LAB_UP="+self)
	if role == "a" || role == "b" {
		cmd.Env = append(cmd.Env, lab.Environment(filepath.Join(dir, "bin"), filepath.Join(dir, role))...)
	}
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) { // ignore the exit code
		return err
	}
	return nil
}
