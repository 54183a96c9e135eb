package service

import (
	"os"
	"path/filepath"
	"testing"
)

// The smallest limit of the process's cgroup and those around it counts, in both versions of cgroups.
func TestCgroupMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no cgroups": {nil, 0},
		"version 2": {map[string]string{
			"proc/self/cgroup": "0::/system.slice/anymx-edge.service\n",
			"sys/fs/cgroup/system.slice/anymx-edge.service/memory.max": "419430400\n",
			"sys/fs/cgroup/system.slice/memory.max":                    "max\n",
		}, 400 << 20},
		"version 2, around it": {map[string]string{
			"proc/self/cgroup":             "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "max\n",
			"sys/fs/cgroup/a/memory.max":   "1000\n",
		}, 1000},
		"version 2, no limit": {map[string]string{
			"proc/self/cgroup":           "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "max\n",
		}, 0},
		"version 1": {map[string]string{
			"proc/self/cgroup": "12:cpu,cpuacct:/x\n7:memory:/a/b\n1:name=systemd:/y\n",
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "5000\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes":   "4000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":     "9223372036854771712\n",
		}, 4000},
		"version 1, no limit": {map[string]string{
			"proc/self/cgroup":                           "7:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		"nonsense": {map[string]string{"proc/self/cgroup": "what\n\n7:memory\n::\n", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		root := t.TempDir()
		for file, text := range tt.files {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := cgroupMemory(root); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
