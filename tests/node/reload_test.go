package node

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

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
			text = pop.WithValue(text, "ingress", "tls_cert", strconv.Quote(cert))
			text = pop.WithValue(text, "ingress", "tls_key", strconv.Quote(private))
			continue
		}
		section, name, _ := strings.Cut(key, ".")
		text = pop.WithValue(text, section, name, r.fill(value))
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

// The grace period of a shutdown comes from the last reload: a transaction that never ends doesn't
// delay it.
func TestReloadedGrace(t *testing.T) {
	t.Parallel()
	p := pop.Start(t, pop.Options{})
	c := dial(t, p.SMTP)
	c.say("MAIL FROM:<a@b.example>", "250 .*")
	p.WriteConfig(pop.WithValue(pop.WithValue(p.Config(), "node", "shutdown_grace", `"1s"`), "ingress", "max_errors", "3"))
	p.Reload()
	begun := time.Now()
	if code := p.Edge().Stop(19 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the end took %s, with a grace of 1s", took)
	}
}
