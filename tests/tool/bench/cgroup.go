package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// groupPrefix starts the names of the control groups that the benchmark makes.
const groupPrefix = "anymx-bench-"

// cgroup is the control group of one system and counts everything that the system starts. With version
// 1 it has a folder under cpuacct and one under memory, with version 2 one folder for both. A folder
// that could not be created is "", and its figures come from /proc.
type cgroup struct {
	cpu    string
	memory string
	v2     bool
}

// newCgroup creates the group below this process's own groups, as far as the machine allows it.
func newCgroup(name string) *cgroup {
	g := &cgroup{}
	name = fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), name)
	if parent, ok := cgroupParent("cpuacct"); ok {
		g.cpu = makeGroup(parent, name)
	}
	if parent, ok := cgroupParent("memory"); ok {
		g.memory = makeGroup(parent, name)
	}
	if g.cpu == "" && g.memory == "" {
		if parent, ok := cgroupParent(""); ok {
			g.cpu, g.v2 = makeGroup(parent, name), true
			g.memory = g.cpu
		}
	}
	return g
}

// makeGroup creates a folder and returns its path, "" if that fails.
func makeGroup(parent, name string) string {
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return ""
	}
	return dir
}

// removeLeftovers kills the processes of killed runs and removes their groups. The process id of the run
// is in a group's name; groups of running ones stay.
func removeLeftovers() {
	for _, controller := range []string{"cpuacct", "memory", ""} {
		parent, ok := cgroupParent(controller)
		if !ok {
			continue
		}
		old, err := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
		if err != nil {
			continue
		}
		for _, dir := range old {
			run, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
			if _, err := os.Stat(filepath.Join("/proc", run)); err == nil {
				continue
			}
			g := &cgroup{cpu: dir}
			g.end()
			g.remove()
		}
	}
}

// end kills every process of the group and waits, two seconds at most, until they are gone.
func (g *cgroup) end() {
	for range 100 {
		pids := g.processes()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// cgroupParent returns the folder of this process's own group under a version 1 controller, or under
// version 2 for "".
func cgroupParent(controller string) (string, bool) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", false
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false
	}
	mount, ok := findMount(string(mounts), controller)
	if !ok {
		return "", false
	}
	path, ok := findOwn(string(own), controller)
	if !ok {
		return "", false
	}
	dir := filepath.Join(mount, path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = mount // in a container that sees only its own groups
	}
	return dir, true
}

// findMount finds where a controller is mounted in the text of mountinfo.
func findMount(mountinfo, controller string) (string, bool) {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		switch {
		case controller == "" && right[0] == "cgroup2":
			return left[4], true
		case controller != "" && right[0] == "cgroup" && slices.Contains(strings.Split(right[2], ","), controller):
			return left[4], true
		}
	}
	return "", false
}

// findOwn finds this process's group in the text of /proc/self/cgroup.
func findOwn(groups, controller string) (string, bool) {
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if (controller == "" && parts[0] == "0") ||
			(controller != "" && slices.Contains(strings.Split(parts[1], ","), controller)) {
			return parts[2], true
		}
	}
	return "", false
}

// dirs returns the folders that a process has to enter.
func (g *cgroup) dirs() []string {
	var dirs []string
	for _, dir := range []string{g.cpu, g.memory} {
		if dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// enter moves the calling process into the groups with the given folders.
func enter(dirs []string) error {
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return nil
}

// cpuTime returns the CPU time of all processes of the group, including ended ones. ok is false if there
// is no group.
func (g *cgroup) cpuTime() (used time.Duration, ok bool) {
	if g.cpu == "" {
		return 0, false
	}
	if g.v2 {
		us, ok := keyedValue(filepath.Join(g.cpu, "cpu.stat"), "usage_usec")
		return time.Duration(us) * time.Microsecond, ok
	}
	ns, ok := soleValue(filepath.Join(g.cpu, "cpuacct.usage"))
	return time.Duration(ns), ok
}

// kernelMemory returns the kernel's memory in bytes that is charged to the group: slabs, stacks, page
// tables and socket buffers. ok is false if the group does not count it.
func (g *cgroup) kernelMemory() (bytes int64, ok bool) {
	if g.memory == "" {
		return 0, false
	}
	if g.v2 {
		kernel, ok1 := keyedValue(filepath.Join(g.memory, "memory.stat"), "kernel")
		sock, ok2 := keyedValue(filepath.Join(g.memory, "memory.stat"), "sock")
		return kernel + sock, ok1 && ok2
	}
	kernel, ok := soleValue(filepath.Join(g.memory, "memory.kmem.usage_in_bytes"))
	sock, _ := soleValue(filepath.Join(g.memory, "memory.kmem.tcp.usage_in_bytes"))
	return kernel + sock, ok
}

// limitMemory limits the group to some bytes of memory.
func (g *cgroup) limitMemory(bytes int64) error {
	file := pick(g.v2, "memory.max", "memory.limit_in_bytes")
	return os.WriteFile(filepath.Join(g.memory, file), []byte(strconv.FormatInt(bytes, 10)), 0)
}

// memoryPeak returns the most memory that the group had at a time, in bytes.
func (g *cgroup) memoryPeak() int64 {
	v, _ := soleValue(filepath.Join(g.memory, pick(g.v2, "memory.peak", "memory.max_usage_in_bytes")))
	return v
}

// killed returns how many processes of the group the kernel has ended for lack of memory.
func (g *cgroup) killed() int64 {
	v, _ := keyedValue(filepath.Join(g.memory, pick(g.v2, "memory.events", "memory.oom_control")), "oom_kill")
	return v
}

// processes returns the ids of the group's processes.
func (g *cgroup) processes() []int {
	for _, dir := range g.dirs() {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		var pids []int
		for _, word := range bytes.Fields(text) {
			if pid, err := strconv.Atoi(string(word)); err == nil {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	return nil
}

// remove removes the group's folders. They may stay busy for a moment after the processes have ended.
func (g *cgroup) remove() error {
	var failed error
	for _, dir := range g.dirs() {
		var err error
		for range 100 {
			if err = os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
				err = nil
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// soleValue reads a file that holds one number.
func soleValue(path string) (int64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	v, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return v, err == nil
}

// keyedValue reads the number of a key from a file with "key number" lines; a colon after the key and a
// unit after the number are allowed.
func keyedValue(path, key string) (int64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		words := strings.Fields(scan.Text())
		if len(words) >= 2 && strings.TrimSuffix(words[0], ":") == key {
			v, err := strconv.ParseInt(words[1], 10, 64)
			return v, err == nil
		}
	}
	return 0, false
}
