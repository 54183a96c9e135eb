package vm

import (
	"context"
	"fmt"
	"time"
)

// balloon is the name of the device for Options.Balloon.
const balloon = "balloon"

// Memory is what a guest's kernel reports of its memory, in bytes: MemTotal and MemAvailable of its
// /proc/meminfo.
type Memory struct{ Total, Available uint64 }

// Used returns the memory that is available only by taking it from a program, in bytes.
func (m Memory) Used() uint64 { return m.Total - m.Available }

// balloonStats is QEMU's reply. Values that the guest has not reported are all ones.
type balloonStats struct {
	Stats struct {
		Total     uint64 `json:"stat-total-memory"`
		Available uint64 `json:"stat-available-memory"`
	} `json:"stats"`
	LastUpdate int64 `json:"last-update"` // Unix time, 0: never
}

// memory returns the guest's last report; ok is false if there is none.
func (s balloonStats) memory() (m Memory, ok bool) {
	m = Memory{Total: s.Stats.Total, Available: s.Stats.Available}
	return m, s.LastUpdate > 0 && m.Total >= m.Available
}

// Memory queries the guest, whose balloon driver must be up within the limit.
func (m *Machine) Memory(ctx context.Context, limit time.Duration) (Memory, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	device := map[string]any{"path": "/machine/peripheral/" + balloon, "property": "guest-stats-polling-interval", "value": 1}
	if err := m.monitor.do(ctx, "qom-set", device, nil); err != nil {
		return Memory{}, err
	}
	began := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var stats balloonStats
		err := m.monitor.do(ctx, "qom-get", map[string]any{"path": device["path"], "property": "guest-stats"}, &stats)
		if err != nil {
			return Memory{}, err
		}
		// A report from before the query may be arbitrarily old.
		if now, ok := stats.memory(); ok && stats.LastUpdate > began.Unix() {
			return now, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return Memory{}, fmt.Errorf("the guest does not tell of its memory within %s", limit)
		}
	}
}
