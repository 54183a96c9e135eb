package network

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"anymx/edge/operate/api"
)

// SIGHUP applies a valid config, and nothing of an invalid one; it ends the mode that a command has
// set.
func TestShieldReload(t *testing.T) {
	node, _ := fence(t)
	r := node.startWith(shielded, on("native"))
	hup := func(more string) {
		t.Helper()
		node.configure(guarded(more))
		r.reload()
	}
	hup(`mode = "generic"`)
	node.until("generic", on("generic"))
	hup(`mode = "native"` + "\n" + `key_file = "/nowhere/key"`)
	node.until("refused", func(s api.NetworkStatus) bool {
		return strings.HasPrefix(s.Config.Problem, "shield.key_file: ") && s.Shield.Interfaces[0].Mode == "generic"
	})
	node.write("blocked", "203.0.113.0/24\n2001:db8:66::/4x\n")
	hup(`mode = "native"` + "\n" + fmt.Sprintf("block_file = %q", filepath.Join(node.dir, "blocked")))
	node.until("refused", func(s api.NetworkStatus) bool {
		return strings.Contains(s.Config.Problem, "shield.block_file: "+node.dir+`/blocked:2: "2001:db8:66::/4x" is neither`) && s.Shield.Listed == 0
	})
	for _, mode := range []string{"native", "off", "generic"} {
		code, text := node.ask("POST", "/v1/shield/mode", fmt.Sprintf(`{"mode":%q}`, mode))
		var s api.NetworkStatus
		if err := json.Unmarshal([]byte(text), &s); code != 200 || err != nil || s.Shield.Mode != mode || s.Shield.Interfaces[0].Mode != mode || s.Shield.Problem != "" {
			t.Errorf("mode %s: %d %s", mode, code, text)
		}
	}
	if code, text := node.ask("POST", "/v1/shield/mode", `{"mode":"fast"}`); code != 400 {
		t.Errorf("mode fast: %d %s", code, text)
	}
	hup("")
	node.until("auto", func(s api.NetworkStatus) bool { return on("generic")(s) && s.Shield.Mode == "auto" }) // the attached programs stay
	r.end(syscall.SIGTERM)
	if !strings.Contains(r.Output(), `msg="control request" action="shield mode" mode=off uid=0`) {
		t.Errorf("no audit: %s", r.Output())
	}
}

// A mode that the driver lacks does not remove the protection.
func TestShieldModeThatTheDriverLacks(t *testing.T) {
	node, _ := fence(t)
	node.configure(strings.ReplaceAll(guarded(""), `"eth0"`, `"lo"`))
	node.startWith(shielded, on("generic"))
	node.post("/v1/shield/mode", `{"mode":"native"}`, 503, "the mode stays auto: interface lo: native XDP")
	if s, err := node.status(); err != nil || !on("generic")(s) || s.Shield.Mode != "auto" {
		t.Errorf("%+v, %v", s.Shield, err)
	}
}

// A missing interface does not leave the others unprotected.
func TestShieldModeWithAMissingInterface(t *testing.T) {
	node, _ := fence(t)
	node.configure(strings.ReplaceAll(guarded(`mode = "off"`), `"eth0"`, `"eth0", "eth9"`))
	node.startWith(shielded, func(s api.NetworkStatus) bool { return s.Shield != nil && s.Shield.Mode == "off" })
	code, text := node.ask("POST", "/v1/shield/mode", `{"mode":"auto"}`)
	var s api.NetworkStatus
	if err := json.Unmarshal([]byte(text), &s); code != 200 || err != nil || s.Shield.Interfaces[0].Mode != "native" || s.Shield.Interfaces[1].Problem == "" {
		t.Errorf("%d %s", code, text)
	}
}

// An interface that appears later is protected then; until then the status reports it.
func TestShieldInterfaceComesLater(t *testing.T) {
	node, _ := fence(t)
	node.configure(strings.ReplaceAll(guarded(""), `"eth0"`, `"eth1"`))
	node.startWith(shielded, func(s api.NetworkStatus) bool {
		return strings.HasPrefix(s.Problem, "shield: interface eth1: ") && s.Shield.Interfaces[0].Mode == "off"
	})
	if metrics := node.metrics(); !strings.Contains(metrics, "anymx_shield_failed 1\n") {
		t.Error("the metrics say nothing of it")
	}
	node.ip("link add eth1 type veth peer name eth2")
	node.until("attached", on("native"))
}
