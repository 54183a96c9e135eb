package mail

import (
	"encoding/json"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestIDText(t *testing.T) {
	now := time.UnixMilli(1795301932123)
	id := NewIDs(0xbeef).Next(now)
	s := id.String()
	if len(s) != 16 || strings.ToLower(s) != s || strings.ContainsAny(s, "ilou") {
		t.Errorf("%q is not 16 characters of the alphabet", s)
	}
	if string(id.AppendTo([]byte("id="))) != "id="+s {
		t.Error("AppendTo and String differ")
	}
	back, err := ParseID(s)
	if err != nil || back != id {
		t.Errorf("%s reads as %s (%v)", s, back, err)
	}
	if !id.Time().Equal(now) {
		t.Errorf("drawn at %s, says %s", now, id.Time())
	}
	if !(ID{}).IsZero() || id.IsZero() {
		t.Error("IsZero")
	}
	text, err := json.Marshal(map[string]ID{"id": id})
	if err != nil || string(text) != `{"id":"`+s+`"}` {
		t.Errorf("JSON %s (%v)", text, err)
	}
	var read map[string]ID
	if err := json.Unmarshal(text, &read); err != nil || read["id"] != id {
		t.Errorf("JSON reads as %v (%v)", read, err)
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "0", "06fwjm7e0r002pz", "06fwjm7e0r002pzg0", "06fwjm7e0r002pzi", "06FWJM7E0R002PZG", "06fwjm7e0r002pz ", "06fwjm7e0r\n02pzg", "06fwjm7e0r002pz\xff", "../../etc/passwd"} {
		if id, err := ParseID(s); err == nil || !id.IsZero() {
			t.Errorf("ParseID(%q) = %s", s, id)
		}
		var id ID
		if err := id.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("UnmarshalText(%q) = %s", s, id)
		}
	}
}

// TestIDsNeverRepeat: IDs must not repeat when the clock stops or steps back, and must sort by
// arrival.
func TestIDsNeverRepeat(t *testing.T) {
	const workers, each = 4, 10000 // below the 65,536 that one millisecond has room for
	ids := NewIDs(7)
	now := time.UnixMilli(1795301932123)
	var mu sync.Mutex
	seen := make(map[ID]bool)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			drawn := make([]ID, each)
			for i := range drawn {
				drawn[i] = ids.Next(now)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range drawn {
				seen[id] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != workers*each {
		t.Errorf("%d different IDs of %d", len(seen), workers*each)
	}
	other := NewIDs(8)
	if seen[other.Next(now)] {
		t.Error("two runs drew the same ID at the same time")
	}
}

func TestIDsSort(t *testing.T) {
	ids := NewIDs(1)
	now := time.UnixMilli(1795301932123)
	var text []string
	for i := range 1000 {
		text = append(text, ids.Next(now.Add(time.Duration(i)*time.Millisecond)).String())
	}
	if !sort.StringsAreSorted(text) {
		t.Error("IDs do not sort by arrival")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("06fwjm7e0r002pzg")
	f.Add("zzzzzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil && id.String() != s {
			t.Errorf("%q reads as %s", s, id)
		}
	})
}
