package service

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// limitMemory makes the garbage collector work harder from 90% of what this process's memory cgroup allows:
// at 100% the kernel would kill it. A limit in GOMEMLIMIT stays.
func limitMemory(log *slog.Logger) {
	limit := cgroupMemory("/")
	if limit == 0 || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(limit / 10 * 9)
	log.Info("memory is limited", "cgroup_bytes", limit, "limit_bytes", limit/10*9)
}

// Memory returns how many bytes of memory this process may use: what its cgroup allows, or else what the
// machine has. 0: unknown.
func Memory() int64 {
	if limit := cgroupMemory("/"); limit > 0 {
		return limit
	}
	text, _ := os.ReadFile("/proc/meminfo") // without it there is no limit
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// cgroupMemory returns the smallest memory limit of this process's cgroup and those around it, in bytes.
// 0: there is none. The file system is below root.
func cgroupMemory(root string) int64 {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	var least int64
	for line := range strings.Lines(string(text)) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(line, ":")
		dir, name := "sys/fs/cgroup", "memory.max" // version 2
		switch {
		case strings.Contains(","+controllers+",", ",memory,"):
			dir, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case controllers != "":
			continue
		}
		for ; ; path = filepath.Dir(path) {
			if n := readLimit(filepath.Join(root, dir, path, name)); n > 0 && (least == 0 || n < least) {
				least = n
			}
			if path == "/" || path == "." {
				break
			}
		}
	}
	return least
}

// readLimit returns the limit in a file. 0: the file is missing, or says that there is none: "max", or in
// version 1 a huge number.
func readLimit(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n >= 1<<60 {
		return 0
	}
	return n
}

// memoryLimit is a gauge of the limit that the garbage collector works for.
func memoryLimit() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "anymx_memory_limit_bytes", Help: "Memory that the garbage collector keeps the program within; 0 for no limit.",
	}, func() float64 {
		if n := debug.SetMemoryLimit(-1); n < math.MaxInt64 {
			return float64(n)
		}
		return 0
	})
}
