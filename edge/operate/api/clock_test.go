package api

import (
	"runtime/debug"
	"testing"
	"time"
)

// The stamp of the build wins over the toolchain's, which a build without the repository lacks.
func TestBuiltAt(t *testing.T) {
	toolchain := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}}}
	for _, tt := range []struct {
		stamp string
		info  *debug.BuildInfo
		want  string
	}{
		{"1796062496", toolchain, "2026-11-30T18:14:56Z"},
		{"", toolchain, "2026-01-02T03:04:05Z"},
		{"0", toolchain, "2026-01-02T03:04:05Z"},
		{"soon", &debug.BuildInfo{}, "0001-01-01T00:00:00Z"},
	} {
		if got := builtAt(tt.stamp, tt.info).Format(time.RFC3339); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.stamp, got, tt.want)
		}
	}
}
