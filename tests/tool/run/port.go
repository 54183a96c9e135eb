package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// port is a loopback address that a program will listen on.
type port struct {
	name string // what it is for
	want int    // the usual port; 0 means any
	got  int
}

func (p port) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.got)) }

// find sets got to want if that port is free, else to a free one, and prints that.
func (p *port) find(s *screen) error {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.want)))
	if err != nil {
		free, freeErr := net.Listen("tcp4", "127.0.0.1:0")
		if freeErr != nil {
			return fmt.Errorf("no port for %s: %w", p.name, freeErr)
		}
		l = free
		s.row(p.name, "port %d is in use by %s; a free port is used instead", p.want, holder(p.want))
	}
	p.got = l.Addr().(*net.TCPAddr).Port
	return l.Close()
}

// holder names the process that listens on a TCP port, as far as this user may see it.
func holder(port int) string {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		inode := listener(bufio.NewScanner(f), port)
		_ = f.Close()
		if inode != "" {
			return socketOwner(inode)
		}
	}
	return "another process"
}

// listener reads a table such as /proc/net/tcp (see proc_pid_net(5)) and returns the inode of the
// socket that listens on the port, "" if there is none.
func listener(table *bufio.Scanner, port int) string {
	for table.Scan() {
		fields := strings.Fields(table.Text())
		if len(fields) < 10 || fields[3] != "0A" { // 0A: LISTEN
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
			return fields[9]
		}
	}
	return ""
}

func socketOwner(inode string) string {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*") // the only error is a bad pattern
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			return "process " + pid
		}
		return strings.TrimSpace(string(name)) + " (process " + pid + ")"
	}
	return "a process of another user"
}
