package node

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/tests/pop"
)

// reloaded is a running edge whose config changes key by key.
type reloaded struct {
	t    *testing.T
	pop  *pop.PoP
	core *watchedCore
	base string // config, without the change of a case
	// window is how long an observation waits for something that may not happen: short before the
	// change, long after it.
	window  time.Duration
	changed bool
	serial  int
}

// reloadCase changes one key and observes the effect.
type reloadCase struct {
	key, value string
	with       map[string]string // other keys, before and after
	// observe returns what is visible from outside. It must match before with the old value and
	// after with the new one; both are patterns.
	observe       func(*reloaded) string
	before, after string
}

// testedElsewhere lists the keys whose effect needs routers, namespaces, a drain or the console, by
// section, and what tests them.
var testedElsewhere = []struct{ section, keys, by string }{
	{"node", "shutdown_grace", "TestReloadedGrace"},
	{"console", "mode idle_timeout", "edge/appliance/console: each start of the prompt reads the file"},
	{"drain", "graceful confirm converge sessions silence flush", "edge: a drain reads its limits when a step begins"},
	{"anycast", "addresses prefixes", "edge/uplink/anycast, edge/uplink/network, tests/anycast"},
	{"bgp.health", "interval timeout rise rise_time fall busy", "edge/uplink/anycast"},
	{"bgp.peer", "address asn hold_time password_file ttl_security communities port local_address families " +
		"next_hop4 next_hop6 med prepend multihop connect_retry", "edge/uplink/anycast, tests/anycast"},
	{"net", "repair", "edge/uplink/network"},
	{"egress.source", "name address interface gateway", "edge/uplink/network, edge/uplink/plumb"},
	{"tunnel", "address listen_port private_key_file mtu probe_size probe_interval", "edge/uplink/tunnel, edge/uplink/network"},
	{"tunnel.peer", "public_key preshared_key_file endpoint allowed_ips keepalive", "edge/uplink/tunnel"},
	{"shield", "interfaces mode key_file epoch cookies syn_rate stray_rate hold connection_rate connection_burst " +
		"fragments unparsable unserved block_file allow_file mtu", "edge/uplink/network, xdp"},
}

func covered(key string) bool {
	for _, e := range testedElsewhere {
		name, ok := strings.CutPrefix(key, e.section+".")
		if ok && slices.Contains(strings.Fields(e.keys), name) {
			return true
		}
	}
	return slices.ContainsFunc(reloadCases, func(c reloadCase) bool { return c.key == key })
}

// Every key that a reload changes has a case, or is listed with the test for it.
func TestReloadCasesComplete(t *testing.T) {
	var walk func(config.Section)
	walk = func(s config.Section) {
		for _, k := range s.Keys {
			if key := s.Path + "." + k.Name; k.Change == config.ChangeReload && !covered(key) {
				t.Errorf("%s changes by reload, and no case of reloadCases looks at its effect", key)
			}
		}
		for _, sub := range s.Inside {
			walk(sub)
		}
	}
	walk(config.Describe())
}

// Each key is changed on a running edge, and a client, core or the log shows the effect.
func TestReloadTakesEffect(t *testing.T) {
	r := &reloaded{t: t, core: watchCore(t)}
	cert, key := certificate(t, t.TempDir(), "first.example")
	r.pop = pop.Start(t, pop.Options{
		Core: r.core.address,
		Ingress: fmt.Sprintf("tls_cert = %q\ntls_key = %q\nrefused_delay = \"0s\"\nmax_commands = 100000000\n", cert, key) +
			"min_rate = 0\nmin_rate_grace = \"1d\"\n",
		CoreConfig: "ehlo_interval = \"1d\"\nconnect_timeout = \"1h\"\nbackoff_max = \"100ms\"\n",
		Config:     "[queue]\nretry = [\"1s\"]\n",
	})
	r.base = r.pop.Config()
	for _, c := range reloadCases {
		t.Run(c.key, func(t *testing.T) {
			r.t, r.changed = t, false
			// What the case before left in the queue goes to core first.
			r.apply(nil)
			r.pop.AwaitEmpty(time.Minute)
			r.apply(c.with)
			r.window = 1500 * time.Millisecond
			if got := c.observe(r); !matches(c.before, got) {
				t.Fatalf("before: %q, want %q", got, c.before)
			}
			changed := map[string]string{c.key: c.value}
			for k, v := range c.with {
				changed[k] = v
			}
			r.apply(changed)
			r.window, r.changed = 20*time.Second, true
			if got := c.observe(r); !matches(c.after, got) {
				t.Errorf("after %s = %s: %q, want %q", c.key, c.value, got, c.after)
			}
		})
	}
}

func matches(pattern, text string) bool {
	return regexp.MustCompile(`^(?s:` + pattern + `)$`).MatchString(text)
}

// apply reloads the base config with other values for some keys.
func (r *reloaded) apply(values map[string]string) {
	r.t.Helper()
	r.core.behave("")
	text := r.base
	for key, value := range values {
		if value == "PAIR" { // certificate and key change together
			cert, private := certificate(r.t, r.t.TempDir(), "second.example")
			text = withValue(r.t, text, "ingress", "tls_cert", strconv.Quote(cert))
			text = withValue(r.t, text, "ingress", "tls_key", strconv.Quote(private))
			continue
		}
		section, name, _ := strings.Cut(key, ".")
		text = withValue(r.t, text, section, name, r.fill(value))
	}
	r.pop.WriteConfig(text)
	if _, err := r.pop.Control().Reload(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// fill replaces placeholders that only the running test knows.
func (r *reloaded) fill(value string) string {
	switch value {
	case "OTHER CORE":
		return fmt.Sprintf("[%q]", r.core.other)
	case "HANGING AND OTHER":
		return fmt.Sprintf("[%q, %q]", hanging(r.t), r.core.other)
	case "LIST":
		return fmt.Sprintf("%q", "file:"+writeFile(r.t, "alice\n"))
	}
	return value
}

// withValue sets a key in the first section of that name.
func withValue(t *testing.T, text, section, name, value string) string {
	t.Helper()
	header := regexp.MustCompile(`(?m)^\[+` + regexp.QuoteMeta(section) + `\]+\n`)
	at := header.FindStringIndex(text)
	if at == nil {
		return text + "\n[" + section + "]\n" + name + " = " + value + "\n"
	}
	before, body, after := text[:at[1]], text[at[1]:], ""
	if next := regexp.MustCompile(`(?m)^\[`).FindStringIndex(body); next != nil {
		body, after = body[:next[0]], body[next[0]:]
	}
	body = regexp.MustCompile(`(?m)^`+name+` *=.*\n`).ReplaceAllString(body, "")
	return before + name + " = " + value + "\n" + body + after
}

// The grace period of a shutdown comes from the last reload: a transaction that never ends doesn't
// delay it.
func TestReloadedGrace(t *testing.T) {
	t.Parallel()
	p := pop.Start(t, pop.Options{})
	c := dial(t, p.SMTP)
	c.say("MAIL FROM:<a@b.example>", "250 .*")
	p.WriteConfig(withValue(t, withValue(t, p.Config(), "node", "shutdown_grace", `"1s"`), "ingress", "max_errors", "3"))
	p.Reload()
	begun := time.Now()
	if code := p.Edge().Stop(19 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the end took %s, with a grace of 1s", took)
	}
}
