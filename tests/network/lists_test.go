package network

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/tests/kit"
)

// listed returns the answer of GET /v1/shield/lists, by prefix.
func (s *site) listed() map[string]api.ShieldEntry {
	s.t.Helper()
	code, text := s.ask("GET", "/v1/shield/lists", "")
	var answer struct{ Entries []api.ShieldEntry }
	if err := json.Unmarshal([]byte(text), &answer); code != 200 || err != nil {
		s.t.Fatalf("lists: %d %s", code, text)
	}
	entries := map[string]api.ShieldEntry{}
	for _, e := range answer.Entries {
		entries[e.Prefix.String()] = e
	}
	return entries
}

// post sends a request and expects this code, and a text that contains says.
func (s *site) post(path, body string, code int, says string) {
	s.t.Helper()
	if got, text := s.ask("POST", path, body); got != code || !strings.Contains(text, says) {
		s.t.Errorf("%s %s: %d %s, want %d and %q", path, body, got, text, code, says)
	}
}

// holds reports that nothing is wrong and n prefixes are in force.
func holds(n int) func(api.NetworkStatus) bool {
	return func(s api.NetworkStatus) bool { return on("native")(s) && s.Shield.Listed == n }
}

// Entries that were acknowledged survive a kill of the program right afterwards, and the loss of
// everything in the kernel.
func TestListsAreKept(t *testing.T) {
	node, _ := fence(t)
	r := node.startWith(shielded, on("native"))
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	node.post("/v1/shield/list", fmt.Sprintf(`{"prefix":"203.0.113.7/24","until":%q,"reason":"floods"}`, until.Format(time.RFC3339)), 200, `"prefix":"203.0.113.0/24"`)
	node.post("/v1/shield/list", `{"prefix":"2001:db8:66::/48","allowed":true}`, 200, `"source":"command"`)
	r.end(syscall.SIGKILL)
	check := func() {
		t.Helper()
		entries := node.listed()
		if e := entries["203.0.113.0/24"]; len(entries) != 2 || !e.Until.Equal(until) || e.Reason != "floods" || e.Allowed || e.Source != "command" {
			t.Errorf("listed: %+v", entries)
		}
		if e := entries["2001:db8:66::/48"]; !e.Allowed || !e.Until.IsZero() {
			t.Errorf("listed: %+v", e)
		}
	}
	r = node.startWith(shielded, holds(2))
	check()
	r.end(syscall.SIGTERM)
	if _, errs, code := node.once(shielded, "-remove"); code != 0 { // as after a reboot
		t.Fatal(errs)
	}
	r = node.startWith(shielded, holds(2))
	check()

	node.post("/v1/shield/unlist", `{"prefix":"203.0.113.0/24"}`, 200, `{"removed":true}`)
	node.post("/v1/shield/unlist", `{"prefix":"203.0.113.0/24"}`, 200, `{"removed":false}`)
	node.post("/v1/shield/list", `{"prefix":"::ffff:203.0.113.0/120"}`, 400, "can't be listed")
	node.post("/v1/shield/list", `{"prefix":"203.0.113.0/24","until":"2001-01-01T00:00:00Z"}`, 400, "is in the past")
	node.post("/v1/shield/list", `{"prefix":"203.0.113.0/24","reason":"a\nb"}`, 400, "one line")
	soon := time.Now().Add(1500 * time.Millisecond)
	node.post("/v1/shield/list", fmt.Sprintf(`{"prefix":"203.0.113.0/24","until":%q}`, soon.Format(time.RFC3339Nano)), 200, "")
	node.until("expired", holds(1))
	file := filepath.Join(node.dir, "net", "lists.json")
	kit.EventuallyIn(t, 10*time.Second, "the expired prefix is removed from the file", func() bool {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return !strings.Contains(string(text), "203.0.113.0/24")
	})
	r.end(syscall.SIGTERM)
	if !strings.Contains(r.Output(), `msg="control request" action="shield list" prefix=203.0.113.0/24`) {
		t.Errorf("no audit: %s", r.Output())
	}

	// A damaged file is reported and set aside; it does not unblock anything.
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = node.startWith(shielded, func(s api.NetworkStatus) bool {
		return strings.Contains(s.Problem, "the lists of blocked and allowed prefixes are unreadable, set aside") && s.Shield.Listed == 1
	})
	if _, err := os.Stat(file + ".corrupt"); err != nil {
		t.Error(err)
	}
	if e := node.listed()["2001:db8:66::/48"]; e.Source != "command" || !e.Allowed || e.Reason != "found in the kernel" {
		t.Errorf("listed: %+v", e)
	}
	r.reload()
	node.until("acknowledged", holds(1))
	r.end(syscall.SIGKILL)
	node.startWith(shielded, holds(1))
	node.post("/v1/shield/unlist", `{"prefix":"2001:db8:66::/48"}`, 200, `{"removed":true}`)
	node.until("empty", holds(0))
}

// Files are read when they change; only differences are written, and nothing of an invalid file.
func TestListFiles(t *testing.T) {
	node, _ := fence(t)
	blocked, allowed := filepath.Join(node.dir, "blocked"), filepath.Join(node.dir, "allowed")
	var many strings.Builder
	for i := range 99_998 {
		fmt.Fprintf(&many, "10.%d.%d.%d/32 # %d\n", i>>16, i>>8&255, i&255, i)
	}
	node.write("blocked", many.String())
	node.write("allowed", "198.51.100.0/24\n")
	node.configure(guarded(fmt.Sprintf("block_file = %q\nallow_file = %q", blocked, allowed)))
	began := time.Now()
	r := node.startWith(shielded, holds(99_999))
	t.Logf("99,999 prefixes in force %s after the start", time.Since(began).Round(time.Millisecond))

	node.write("blocked", many.String()+"203.0.113.9\n")
	node.until("one more", holds(100_000))
	node.post("/v1/shield/list", `{"prefix":"192.0.2.0/24"}`, 400, "the list is full")
	node.post("/v1/shield/list", `{"prefix":"2001:db8::/32"}`, 200, "") // the other IP version has room
	node.post("/v1/shield/list", `{"prefix":"203.0.113.9/32","allowed":true}`, 200, "")
	if e := node.listed()["203.0.113.9/32"]; !e.Allowed || e.Source != "command" {
		t.Errorf("a command comes first: %+v", e)
	}
	node.post("/v1/shield/unlist", `{"prefix":"203.0.113.9/32"}`, 200, `{"removed":true}`)
	if e := node.listed()["203.0.113.9/32"]; e.Allowed || e.Source != blocked {
		t.Errorf("then the file again: %+v", e)
	}
	node.post("/v1/shield/unlist", `{"prefix":"203.0.113.9/32"}`, 400, "is listed in the file "+blocked)

	node.write("blocked", "203.0.113.0/24\nsomewhere\n")
	node.until("refused", func(s api.NetworkStatus) bool {
		return strings.Contains(s.Problem, blocked+`:2: "somewhere" is neither a prefix nor an address`) && s.Shield.Listed == 100_001
	})
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	node.until("missed", func(s api.NetworkStatus) bool {
		return strings.Contains(s.Problem, "no such file") && s.Shield.Listed == 100_001
	})
	began = time.Now()
	again := r // an entry that may come from an unreadable file survives a restart too
	again.end(syscall.SIGKILL)
	r = node.startWith(shielded, func(s api.NetworkStatus) bool {
		return strings.Contains(s.Problem, "no such file") && s.Shield.Listed == 100_001
	})
	t.Logf("100,001 prefixes taken over %s after the start", time.Since(began).Round(time.Millisecond))
	node.write("blocked", "# nobody\n")
	node.until("emptied", holds(2))
	r.end(syscall.SIGTERM)
	if !strings.Contains(again.Output(), `msg="prefix list read" file=`+blocked+` prefixes=99999 added=1 removed=0`) {
		t.Errorf("log: %s", again.Output())
	}
}
