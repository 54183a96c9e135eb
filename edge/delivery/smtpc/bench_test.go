package smtpc

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sinkEnv turns the test binary into a sink: a cheap server in a process of its own, so that the
// benchmark doesn't count its CPU time.
const sinkEnv = "ANYMX_SMTPC_SINK"

// sink serves until its standard input ends.
func sink() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	var extensions strings.Builder
	for _, e := range strings.Split(os.Getenv(sinkEnv), ",") {
		extensions.WriteString("250-" + e + "\r\n")
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go swallow(conn, extensions.String())
		}
	}()
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// swallow serves one session and discards everything.
func swallow(conn net.Conn, extensions string) {
	defer conn.Close()
	r, w := bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
	w.WriteString("220 sink\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil || len(line) < 4 {
			return
		}
		switch string(line[:4]) {
		case "EHLO":
			w.WriteString("250-sink\r\n" + extensions + "250 SIZE 0\r\n")
		case "BDAT":
			size, _, _ := strings.Cut(string(line[5:]), " ")
			n, _ := strconv.Atoi(size)
			if _, err := r.Discard(n); err != nil {
				return
			}
			w.WriteString("250 2.0.0 Ok\r\n")
		case "DATA":
			w.WriteString("354 go\r\n")
			if w.Flush() != nil {
				return
			}
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if bytes.Equal(line, dotLine) {
					break
				}
			}
			w.WriteString("250 2.0.0 Ok\r\n")
		default:
			w.WriteString("250 2.0.0 Ok\r\n")
		}
	}
}

func startSink(b *testing.B, extensions ...string) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkEnv+"="+strings.Join(append(extensions, "HELP"), ","))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// BenchmarkSend10K sends messages of 10 KB over 16 connections to a sink in
// another process. cpu-us/msg is this process alone, system calls included.
func BenchmarkSend10K(b *testing.B) {
	for _, bench := range []struct {
		name       string
		extensions []string
	}{
		{"bdat", []string{"PIPELINING", "CHUNKING", "8BITMIME", "DSN", "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"}},
		{"data", []string{"PIPELINING", "8BITMIME"}},
		{"lockstep", nil},
	} {
		b.Run(bench.name, func(b *testing.B) {
			addr := startSink(b, bench.extensions...)
			const conns = 16
			var left atomic.Int64
			left.Store(int64(b.N))
			body := memory(testBody(10 << 10))
			var ready, done sync.WaitGroup
			ready.Add(conns)
			begin := make(chan struct{})
			for range conns {
				done.Go(func() {
					c, err := Dial(b.Context(), addr, Options{Hello: "edge.test", TLSMode: TLSNever, XForward: true})
					ready.Done()
					if err != nil {
						b.Error(err)
						return
					}
					defer c.Close()
					m := Message{Envelope: testEnvelope(1), Pending: []int{0}, Body: body}
					m.Envelope.Client.Helo = "client.example.org"
					<-begin
					for left.Add(-1) >= 0 {
						if results, err := c.Send(b.Context(), m); err != nil || results[0].Failure != nil {
							b.Error(err, results[0].Failure)
							return
						}
					}
				})
			}
			ready.Wait()
			b.ReportAllocs()
			cpu := cpuTime()
			b.ResetTimer()
			close(begin)
			done.Wait()
			b.StopTimer()
			cpu = cpuTime() - cpu
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(float64(cpu.Nanoseconds())/1e3/float64(b.N), "cpu-us/msg")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
