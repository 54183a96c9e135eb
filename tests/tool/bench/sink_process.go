package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// sinkRequest is one line on the sink's standard input. The sink answers each with a sinkAnswer.
type sinkRequest struct {
	Op    string        `json:"op"`              // begin, wait or counts
	First uint64        `json:"first,omitempty"` // begin: number of the first message
	Count int           `json:"count,omitempty"` // begin: how many messages
	Stall time.Duration `json:"stall,omitempty"` // wait: fail if nothing arrives for so long
}

// sinkAnswer is one line on the sink's standard output. The first line holds Address alone.
type sinkAnswer struct {
	Address string `json:"address,omitempty"`
	Counts  counts `json:"counts"`
	Error   string `json:"error,omitempty"`
}

// sinkCommand runs the sink as a process of its own. It serves until its input ends, so it can't outlive
// the benchmark.
func sinkCommand(args []string, in io.Reader, out io.Writer) error {
	fs := flag.NewFlagSet("sink", flag.ContinueOnError)
	address := fs.String("listen", "127.0.0.1:0", "address to listen on")
	if err := fs.Parse(args); err != nil {
		return err
	}
	t := newTally()
	s, err := newSink(*address, t)
	if err != nil {
		return err
	}
	served := make(chan struct{})
	go func() { defer close(served); s.serve() }()
	defer func() { s.close(); <-served }()

	answers := json.NewEncoder(out)
	if err := answers.Encode(sinkAnswer{Address: s.listener.Addr().String()}); err != nil {
		return err
	}
	requests := json.NewDecoder(in)
	for {
		var req sinkRequest
		if err := requests.Decode(&req); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var answer sinkAnswer
		switch req.Op {
		case "begin":
			t.beginRound(req.First, req.Count)
		case "wait":
			if err := t.wait(req.Stall); err != nil {
				answer.Error = err.Error()
			}
		}
		answer.Counts = t.current()
		answer.Counts.CPU = ownCPU()
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
}

// ownCPU returns the CPU time of this process.
func ownCPU() time.Duration {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// sinkProcess is the benchmark's side of the running sink. Only one goroutine may use it at a time.
type sinkProcess struct {
	address string
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// startSink starts the sink.
func startSink() (*sinkProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &sinkProcess{cmd: exec.Command(self, "sink")}
	p.cmd.Stderr = os.Stderr
	// A Ctrl-C goes to the whole foreground group; the sink ends with its input instead.
	p.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	p.answers = json.NewDecoder(bufio.NewReader(out))
	var hello sinkAnswer
	if err := p.answers.Decode(&hello); err != nil {
		p.stop()
		return nil, fmt.Errorf("sink did not start: %w", err)
	}
	p.address = hello.Address
	return p, nil
}

// beginRound starts a round of count messages from number first on.
func (p *sinkProcess) beginRound(first uint64, count int) error {
	_, err := p.ask(sinkRequest{Op: "begin", First: first, Count: count})
	return err
}

// wait returns when all messages of the round have arrived. It fails if none arrives for the time stall.
func (p *sinkProcess) wait(stall time.Duration) (counts, error) {
	return p.ask(sinkRequest{Op: "wait", Stall: stall})
}

// counts returns what has arrived so far.
func (p *sinkProcess) counts() (counts, error) { return p.ask(sinkRequest{Op: "counts"}) }

func (p *sinkProcess) ask(req sinkRequest) (counts, error) {
	if err := json.NewEncoder(p.in).Encode(req); err != nil {
		return counts{}, fmt.Errorf("sink: %w", err)
	}
	var answer sinkAnswer
	if err := p.answers.Decode(&answer); err != nil {
		return counts{}, fmt.Errorf("sink: %w", err)
	}
	if answer.Error != "" {
		return answer.Counts, fmt.Errorf("sink: %s", answer.Error)
	}
	return answer.Counts, nil
}

// stop ends the sink and waits for it.
func (p *sinkProcess) stop() {
	p.in.Close()
	timer := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	p.cmd.Wait()
}
