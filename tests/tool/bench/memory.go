package main

import (
	"fmt"
	"math"
	"os"
	"time"
)

// footprint is the memory of a system at one moment, in bytes.
type footprint struct {
	process int64 // proportional set size of all processes
	kernel  int64 // kernel memory: slabs, stacks, page tables, socket buffers
}

// measureFootprint adds up the memory of all processes of p.
func measureFootprint(p *process) footprint {
	var f footprint
	for _, pid := range p.processes() {
		if kib, ok := keyedValue(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss"); ok {
			f.process += kib << 10
		}
	}
	kernel, ok := p.group.kernelMemory()
	if !ok {
		kernel = machineKernelMemory()
	}
	f.kernel = kernel
	return f
}

// machineKernelMemory returns the kernel memory of the whole machine, for differences if no group counts
// it. It includes the client's half of each loopback connection.
func machineKernelMemory() int64 {
	var sum int64
	for _, key := range []string{"Slab", "KernelStack", "PageTables"} {
		kib, _ := keyedValue("/proc/meminfo", key)
		sum += kib << 10
	}
	return sum
}

// settledFootprint measures until two measurements a second apart agree within 1%, at most ten times.
func settledFootprint(p *process) footprint {
	last := measureFootprint(p)
	for range 10 {
		time.Sleep(time.Second)
		next := measureFootprint(p)
		if math.Abs(float64(next.process-last.process)) < 0.01*float64(last.process) {
			return next
		}
		last = next
	}
	return last
}

// peakSampler records the peak of memory of a system's processes.
type peakSampler struct {
	process *process
	quit    chan struct{}
	done    chan struct{}
	highest int64
}

// startPeak starts to sample. It resets the kernel's own high-water mark, which misses nothing between
// samples.
func startPeak(p *process) *peakSampler {
	s := &peakSampler{process: p, quit: make(chan struct{}), done: make(chan struct{})}
	for _, pid := range p.processes() {
		os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // proc(5)
	}
	go s.follow()
	return s
}

func (s *peakSampler) follow() {
	defer close(s.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s.highest = max(s.highest, measureFootprint(s.process).process)
		select {
		case <-s.quit:
			return
		case <-tick.C:
		}
	}
}

// stop ends the sampling and returns the peak in bytes. For a system of one process it takes the
// kernel's high-water mark of the resident set if that is higher.
func (s *peakSampler) stop() int64 {
	close(s.quit)
	<-s.done
	if pids := s.process.processes(); len(pids) == 1 {
		kib, _ := keyedValue(fmt.Sprintf("/proc/%d/status", pids[0]), "VmHWM")
		s.highest = max(s.highest, kib<<10)
	}
	return s.highest
}
