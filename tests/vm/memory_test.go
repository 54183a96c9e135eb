package vm

import (
	"encoding/json"
	"testing"
)

func TestBalloonStats(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		want         Memory
		ok           bool
	}{
		{"told", `{"stats":{"stat-total-memory":1000,"stat-available-memory":800,"stat-free-memory":18446744073709551615},"last-update":1795329853}`,
			Memory{Total: 1000, Available: 800}, true},
		{"never told", `{"stats":{"stat-total-memory":18446744073709551615,"stat-available-memory":18446744073709551615},"last-update":0}`,
			Memory{Total: 1<<64 - 1, Available: 1<<64 - 1}, false},
		{"told without what is available", `{"stats":{"stat-total-memory":1000,"stat-available-memory":18446744073709551615},"last-update":1795329853}`,
			Memory{Total: 1000, Available: 1<<64 - 1}, false},
	} {
		var stats balloonStats
		if err := json.Unmarshal([]byte(test.answer), &stats); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got, ok := stats.memory(); got != test.want || ok != test.ok {
			t.Errorf("%s: %+v, %v", test.name, got, ok)
		}
	}
	if used := (Memory{Total: 1000, Available: 800}).Used(); used != 200 {
		t.Errorf("%d used", used)
	}
}
