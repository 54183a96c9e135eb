package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// describeMachine describes machine and disk for the document; dir is on the disk that holds the spools.
func describeMachine(dir string) []string {
	lines := []string{fmt.Sprintf("%s, %d cores, %s of memory; %s, Linux %s, %s",
		processorModel(), machineCores(), totalMemory(), distribution(), kernelRelease(), runtime.Version())}
	disk := "spools on " + fileSystem(dir)
	if median, err := syncTime(dir); err == nil {
		disk += fmt.Sprintf(", write and fdatasync of 8 KiB %s ms (median of %d)", figure(median.Seconds()*1000), syncSamples)
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		disk += "; load average before the run " + strings.Join(strings.Fields(string(load))[:3], " ")
	}
	return append(lines, disk)
}

// machineCores returns the number of online processors, including those that this process may not use.
func machineCores() int {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return runtime.NumCPU()
	}
	return max(1, strings.Count(string(text), "\ncpu"))
}

func processorModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func totalMemory() string {
	kib, ok := keyedValue("/proc/meminfo", "MemTotal")
	if !ok {
		return "unknown size"
	}
	return fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
}

func distribution() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"`)
		}
	}
	return "Linux"
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// fileSystem names the type and device of the file system that dir is on.
func fileSystem(dir string) string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "an unknown file system"
	}
	best, name := -1, "an unknown file system"
	for line := range strings.Lines(string(text)) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 2 {
			continue
		}
		mount := left[4]
		inside := dir == mount || strings.HasPrefix(dir, strings.TrimSuffix(mount, "/")+"/")
		if inside && len(mount) > best {
			best, name = len(mount), fmt.Sprintf("%s (%s, %s)", right[0], right[1], left[5])
		}
	}
	return name
}

// syncSamples is the number of writes that syncTime measures.
const syncSamples = 50

// syncTime returns the median time of a small durable write in dir.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 8<<10)
	times := make([]time.Duration, syncSamples)
	for i := range times {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[syncSamples/2], nil
}
