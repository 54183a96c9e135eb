package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// busy uses CPU time in a child that ends before its parent, and then waits.
const busy = `sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo ready; sleep 60 & wait`

// testProcess measures a process and its children in a group, real or empty.
func testProcess(t *testing.T, group *cgroup) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := startProcess(group, log, "sh", "-c", busy)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for p.Tail(20) != "ready" {
		if time.Now().After(deadline) {
			p.stop(0)
			t.Fatalf("process is not ready: %s", p.Tail(20))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if used := p.cpuTime(); used < 20*time.Millisecond || used > 8*time.Second {
		t.Errorf("CPU time %v: the child that has ended is not in it", used)
	}
	deadline = time.Now().Add(5 * time.Second)
	for len(p.processes()) != 2 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond) // sleep has not started yet
	}
	if pids := p.processes(); len(pids) != 2 {
		t.Errorf("processes %v, want the shell and its sleep", pids)
	}
	if f := measureFootprint(p); f.process <= 0 || f.kernel <= 0 {
		t.Errorf("footprint %+v", f)
	}
	peak := startPeak(p)
	if got := peak.stop(); got <= 0 {
		t.Errorf("peak %d", got)
	}
	p.stop(time.Second)
	if pids := p.processes(); len(pids) != 0 {
		t.Errorf("processes %v are left", pids)
	}
}

func TestProcessInGroup(t *testing.T) {
	group := newCgroup("test")
	if len(group.dirs()) == 0 {
		t.Skip("control groups can't be created on this machine")
	}
	testProcess(t, group)
	if err := group.remove(); err != nil {
		t.Error(err)
	}
	for _, dir := range group.dirs() {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestProcessWithoutGroup(t *testing.T) { testProcess(t, &cgroup{}) }

func TestFindMountAndOwn(t *testing.T) {
	const v1 = `30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
33 24 0:29 / /data rw - ext4 /dev/vda rw
`
	const own = "4:memory:/jobs/7\n2:cpu,cpuacct:/\n0::/user.slice\n"
	for _, c := range []struct{ controller, mount, own string }{
		{"cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/"},
		{"memory", "/sys/fs/cgroup/memory", "/jobs/7"},
		{"", "/sys/fs/cgroup/unified", "/user.slice"},
	} {
		if got, ok := findMount(v1, c.controller); !ok || got != c.mount {
			t.Errorf("mount of %q: got %q %v, want %q", c.controller, got, ok, c.mount)
		}
		if got, ok := findOwn(own, c.controller); !ok || got != c.own {
			t.Errorf("own group of %q: got %q %v, want %q", c.controller, got, ok, c.own)
		}
	}
	if got, ok := findMount(v1, "blkio"); ok {
		t.Errorf("a controller that is not mounted is at %q", got)
	}
	if got, ok := findOwn(own, "blkio"); ok {
		t.Errorf("a controller that is not there has %q", got)
	}
}

func TestLeftoversOfADeadRunAreRemoved(t *testing.T) {
	parent, ok := cgroupParent("cpuacct")
	if !ok {
		if parent, ok = cgroupParent(""); !ok {
			t.Skip("no control groups on this machine")
		}
	}
	// Linux allows process ids up to 4194304, so no run has this one.
	dir := makeGroup(parent, groupPrefix+"9999999-test")
	if dir == "" {
		t.Skip("control groups can't be created on this machine")
	}
	p, err := startProcess(&cgroup{cpu: dir}, filepath.Join(t.TempDir(), "log"), "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop(0)
	for deadline := time.Now().Add(5 * time.Second); len(p.processes()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the process did not enter its group")
		}
	}
	living := newCgroup("living")
	defer living.remove()
	removeLeftovers()
	select {
	case <-p.Done():
	case <-time.After(5 * time.Second):
		t.Error("a process of the dead run still lives")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the group of the dead run is left")
	}
	for _, dir := range living.dirs() {
		if _, err := os.Stat(dir); err != nil {
			t.Error("the group of a living run is gone")
		}
	}
}
