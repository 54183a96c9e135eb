package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// stall is how long no message may reach the sink before a round fails.
const stall = 30 * time.Second

// meter reads the CPU clocks before and after a round.
type meter struct {
	instance *instance
	system   time.Duration // of the system under test
	load     time.Duration // of this process
	sink     time.Duration
	machine  time.Duration // of everything on this machine
	at       time.Duration
}

// startMeter reads the clocks before a round.
func (b *bench) startMeter(i *instance) (meter, error) {
	c, err := b.sink.counts()
	if err != nil {
		return meter{}, err
	}
	return meter{i, i.process.cpuTime(), ownCPU(), c.CPU, machineCPU(), now()}, nil
}

// stop adds the CPU figures of a round of n messages to got, in milliseconds for each message. For other
// programs it is the percentage of the machine that they took.
func (m meter) stop(b *bench, n int, got sample) error {
	system, load, machine, at := m.instance.process.cpuTime(), ownCPU(), machineCPU(), now()
	c, err := b.sink.counts()
	if err != nil {
		return err
	}
	each := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(n) }
	got["cpu"] = each(system - m.system)
	got["load_cpu"] = each(load - m.load)
	got["sink_cpu"] = each(c.CPU - m.sink)
	foreign := (machine - m.machine) - (system - m.system) - (load - m.load) - (c.CPU - m.sink)
	got["foreign"] = max(0, 100*foreign.Seconds()/((at-m.at).Seconds()*float64(machineCores())))
	return nil
}

// machineCPU returns the CPU time that everything on this machine has used since its boot.
func machineCPU() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks int64
	for i, word := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq; the rest is not this machine's or already counted.
		if i == 4 || i == 5 || i > 7 {
			continue
		}
		n, _ := strconv.ParseInt(word, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

// relay sends a load through a system and waits until the sink has all of it. It sets the load's first
// number. The sample has the rate, in messages/s from the first connect to the last message at the sink,
// and the CPU figures.
func (b *bench) relay(ctx context.Context, i *instance, l load) (sample, error) {
	l.first = b.reserveNumbers(l.messages)
	if err := b.sink.beginRound(l.first, l.messages); err != nil {
		return nil, err
	}
	if l.secure != nil {
		// The client's half of a handshake costs as much as the server's, and may need more than one
		// processor.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	}
	m, err := b.startMeter(i)
	if err != nil {
		return nil, err
	}
	out, err := l.run(ctx)
	if err != nil {
		return nil, err
	}
	got, end := sample{}, out.accepted
	if relays(i.system) {
		c, err := b.sink.wait(stall)
		if err != nil {
			return nil, err
		}
		end = c.DoneAt
	}
	if err := m.stop(b, l.messages, got); err != nil {
		return nil, err
	}
	got["rate"] = float64(l.messages) / (end - out.began).Seconds()
	got["accept_rate"] = float64(l.messages) / (out.accepted - out.began).Seconds()
	if !relays(i.system) {
		return got, nil
	}
	b.awaitQuiet(ctx) // a duplicate would arrive now
	return got, b.verify(l)
}

// verify compares what the sink has with what was sent: every message once, and every byte of its body.
func (b *bench) verify(l load) error {
	c, err := b.sink.counts()
	if err != nil {
		return err
	}
	if want := int64(l.messages) * int64(l.message.content); c.Content != want {
		return fmt.Errorf("bodies of %d messages have %d bytes at the sink, expected %d", c.Messages, c.Content, want)
	}
	if c.Duplicates > 0 || c.Strays > 0 || c.Broken > 0 {
		return fmt.Errorf("sink saw %d duplicates, %d strays and %d broken sessions %s",
			c.Duplicates, c.Strays, c.Broken, c.Complaint)
	}
	return nil
}

// relays reports whether a system hands messages on to the sink.
func relays(s system) bool {
	switch s.(type) {
	case discardSystem, sinkSystem:
		return false
	}
	return true
}
