package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
	"anymx/tests/kit"
)

var update = flag.Bool("update", false, "write what the commands print into testdata")

// story is one run of the command line against a node. testdata/NAME.txt has its output and exit
// code.
type story struct {
	name string
	args string // split at spaces
	node func(*controltest.Node)
	// typed is the user's input; nil: there is no terminal.
	typed *string
	// down: the node does not answer.
	down bool
	// speaker is the one named in the config; nil: the config has no [bgp].
	speaker *controltest.Speaker
	// network is the anymx-net named in the config; nil: it does not answer.
	network *controltest.Network
	// ssh is the operator's address as SSH reports it.
	ssh string
}

func noScreen() (columns, rows int, ok bool) { return 0, 0, false }

func typed(s string) *string { return &s }

var (
	troubled = func(n *controltest.Node) {
		s := &n.State
		s.Phase, s.Since = api.Draining, controltest.Now.Add(-90*time.Second)
		s.Spool.Accepting, s.Spool.Reason = false, "disk reserve"
		s.Queue.Paused = []api.PauseStatus{{Cause: "no address of core answers", Until: controltest.Now.Add(9 * time.Second)}}
		s.Core[0].Health, s.Core[0].RetryAt = api.Probing, controltest.Now.Add(-time.Second)
		s.Core[0].LastError = "MAIL: 421 4.3.2 going down\x1b[0m"
		s.TLS.NotAfter, s.TLS.Problem = controltest.Now.Add(-48*time.Hour), "key.pem is not the key of cert.pem"
		s.Config.Problem, s.Config.Restart = "/etc/anymx/anymx.toml:7:core.adresses: unknown key\n/etc/anymx/anymx.toml:9:core.protocol: \"smpt\" is unknown", []string{"node.metrics"}
		n.ReadyErr = errors.New("spool: disk reserve")
	}
	fresh = func(n *controltest.Node) {
		n.Clear()
		n.State.Spool = api.SpoolStatus{Accepting: true, DiskFree: 1 << 30}
		n.State.Sessions, n.State.TLS, n.State.Config, n.State.Core = api.SessionsStatus{}, nil, nil, nil
	}
	broken = func(n *controltest.Node) { n.Broken = errors.New("spool: read: input/output error") }
	lost   = func(n *controltest.Node) {
		n.Spool.Problems = []string{"20260314T092601Z: the bodies of 2 acknowledged messages have no envelope, and no record of their delivery"}
		n.Spool.Orphans, n.Spool.OrphanBytes, n.Spool.Lost, n.Spool.Damaged, n.Spool.UnknownFiles = 3, 5<<20, 2, 1, 1
		n.State.Spool.Problem, n.State.Spool.Orphans, n.State.Spool.OrphanBytes = "spool: "+n.Spool.Problems[0], 3, 5<<20
		n.State.Spool.Damaged, n.State.Spool.UnknownFiles = 1, 1
		n.ReadyErr = errors.New(n.State.Spool.Problem)
	}
	unsound = func(n *controltest.Node) {
		n.Spool = api.SpoolReport{
			Dir: "/var/lib/anymx/spool", Problems: []string{"the folder engine is missing, with all envelopes and short messages"},
			BodyFiles: 13, BodyBytes: 4_800_000, Orphans: 13, OrphanBytes: 4_800_000, Lost: 13,
		}
	}
	badFile = func(n *controltest.Node) {
		n.ReloadErr = &config.Errors{Problems: []config.Problem{
			{File: "/etc/anymx/anymx.toml", Line: 7, Column: 1, Key: "core.adresses", Reason: "unknown key"},
			{File: "/etc/anymx/anymx.toml", Line: 9, Column: 1, Key: "core.protocol", Reason: `"smpt": want "smtp" or "lmtp"`},
		}}
	}
	id = func(n int) string { return controltest.ID(n).String() }
)

var stories = []story{
	{name: "help", args: "--help"},
	{name: "no-arguments", args: ""},
	{name: "help-queue", args: "queue"},
	{name: "help-queue-delete", args: "help queue delete"},
	{name: "unknown-command", args: "stauts"},
	{name: "unknown-queue-command", args: "queue relase"},
	{name: "unknown-flag", args: "status --redy"},
	{name: "unknown-short-flag", args: "status -w"},
	{name: "flag-without-value", args: "status --wait"},
	{name: "flag-bad-number", args: "queue list --limit many"},
	{name: "flag-bad-duration", args: "status --ready --wait soon"},
	{name: "argument-missing", args: "queue show"},
	{name: "argument-too-many", args: "check good.toml bad.toml"},
	{name: "flags-exclusive", args: "update --dry-run --rollback --status"},
	{name: "complete-flags", args: "__complete status --"},

	{name: "status", args: "status"},
	{name: "status-json", args: "status --json"},
	{name: "status-troubled", args: "status", node: troubled},
	{name: "status-fresh", args: "status", node: fresh},
	{name: "status-ready", args: "status --ready"},
	{name: "status-not-ready", args: "status --ready", node: troubled},
	{name: "status-not-ready-json", args: "status --ready --wait 150ms --json", node: troubled},
	{name: "status-wait-alone", args: "status --wait 3s"},
	{name: "status-argument", args: "status ams1"},
	{name: "status-down", args: "status", down: true},

	{name: "summary", args: "queue summary", node: func(n *controltest.Node) { n.Waits = "core can't be reached: no address of core answers" }},
	{name: "summary-json", args: "queue summary --json"},
	{name: "summary-empty", args: "queue summary", node: fresh},
	{name: "summary-bad-limit", args: "queue summary --limit 0"},
	{name: "summary-broken", args: "queue summary", node: broken},
	{name: "list", args: "queue list"},
	{name: "list-json", args: "queue list --json"},
	{name: "list-empty", args: "queue list", node: fresh},
	{name: "list-empty-json", args: "queue list --json", node: fresh},
	{name: "list-limit", args: "queue list --limit 2"},
	{name: "list-limit-json", args: "queue list --limit 2 --json"},
	{name: "list-after", args: "queue list --limit 2 --after " + id(3)},
	{name: "list-state", args: "queue list --state held"},
	{name: "list-null-sender", args: "queue list --sender <>"},
	{name: "list-recipient", args: "queue list --recipient carol@EXAMPLE.net"},
	{name: "list-older", args: "queue list --older-than 1h"},
	{name: "list-bad-state", args: "queue list --state frozen"},
	{name: "list-bad-sender", args: "queue list --sender nobody"},
	{name: "list-bad-age", args: "queue list --older-than soon"},
	{name: "list-bad-limit", args: "queue list --limit -3"},
	{name: "list-bad-after", args: "queue list --after me"},
	{name: "list-broken", args: "queue list", node: broken},
	{name: "list-broken-json", args: "queue list --json", node: broken},

	{name: "show", args: "queue show " + id(1)},
	{name: "show-json", args: "queue show --json " + id(1)},
	{name: "show-notification", args: "queue show " + id(2)},
	{name: "show-held", args: "queue show " + id(3)},
	{name: "show-active", args: "queue show " + id(4)},
	{name: "show-hostile", args: "queue show " + id(5)},
	{name: "show-unknown", args: "queue show " + id(9)},
	{name: "show-bad-id", args: "queue show ILOU"},
	{name: "show-nothing", args: "queue show"},

	{name: "flush", args: "queue flush " + id(1) + " " + id(2)},
	{name: "flush-all", args: "queue flush --all"},
	{name: "flush-json", args: "queue flush --json --all --state waiting --recipient bob@example.net"},
	{name: "flush-nothing", args: "queue flush"},
	{name: "flush-both", args: "queue flush --all " + id(1)},
	{name: "flush-filter-alone", args: "queue flush --state held"},
	{name: "flush-partly-unknown", args: "queue flush " + id(9) + " " + id(1)},
	{name: "hold", args: "queue hold --reason abuse " + id(1)},
	{name: "release", args: "queue release --all --state held"},
	{name: "delete", args: "queue delete " + id(3)},
	{name: "delete-json", args: "queue delete --json " + id(3) + " " + id(4) + " " + id(9)},
	{name: "delete-later", args: "queue delete " + id(3) + " " + id(4)},
	{name: "delete-all-without-terminal", args: "queue delete --all"},
	{name: "delete-all-yes", args: "queue delete --all --yes --sender @lists.example.org"},
	{name: "delete-all-asked-yes", args: "queue delete --all --state held", typed: typed("Yes\n")},
	{name: "delete-all-asked-no", args: "queue delete --all", typed: typed("y\n")},
	{name: "delete-all-asked-end", args: "queue delete --all", typed: typed("")},
	{name: "delete-all-of-nothing", args: "queue delete --all --sender nobody@example.org", typed: typed("")},
	{name: "delete-all-of-nothing-json", args: "queue delete --json --all --yes --sender nobody@example.org"},
	{name: "delete-sick", args: "queue delete " + id(3) + " " + id(1), node: func(n *controltest.Node) { n.Sick = controltest.ID(1) }},
	{name: "delete-broken", args: "queue delete " + id(1), node: broken},

	{name: "help-drain", args: "drain --help"},
	{name: "help-resume", args: "resume --help"},
	{name: "drain", args: "drain --reason x", node: drains},
	{name: "drain-json", args: "drain --json", node: drains},
	{name: "drain-local", args: "drain", node: local},
	{name: "drain-held", args: "drain", node: drainsHeld},
	{name: "drain-many-held", args: "drain", node: drainsManyHeld},
	{name: "drain-already", args: "drain", node: drained},
	{name: "drain-left", args: "drain", node: drainsWithRest},
	{name: "drain-left-json", args: "drain --json", node: drainsWithRest},
	{name: "drain-wait", args: "drain --wait 30ms", node: begins},
	{name: "drain-no-wait", args: "drain --wait 0 --now", node: begins},
	{name: "drain-until-restart", args: "drain --until restart --reason x", node: drains},
	{name: "drain-until-restart-lasts", args: "drain", node: drainedUntilRestart},
	{name: "drain-until-restart-again", args: "drain --until restart", node: drainedUntilRestart},
	{name: "drain-until-restart-drained", args: "drain --until restart", node: drained},
	{name: "drain-until-noon", args: "drain --until noon"},
	{name: "drain-undone", args: "drain", node: undone},
	{name: "drain-stopping", args: "drain", node: stops},
	{name: "drain-bad-reason", args: "drain --reason \x1b[2J"},
	{name: "drain-argument", args: "drain ams1"},
	{name: "drain-down", args: "drain", down: true},
	{name: "drain-speaker", args: "drain --reason broken", down: true, speaker: confirms()},
	{name: "drain-speaker-until-restart", args: "drain --until restart", down: true, speaker: confirms()},
	{name: "drain-speaker-json", args: "drain --json", down: true, speaker: confirms()},
	{name: "drain-speaker-unconfirmed", args: "drain --wait 20ms", down: true, speaker: silentRouter()},
	{name: "drain-speaker-refuses", args: "drain", down: true, speaker: refuses()},

	{name: "resume", args: "resume", node: comesBack},
	{name: "resume-json", args: "resume --json", node: comesBack},
	{name: "resume-local", args: "resume", node: localDrained},
	{name: "resume-already", args: "resume", node: controltest.OnNetwork},
	{name: "resume-wait", args: "resume --wait 30ms", node: sick},
	{name: "resume-wait-json", args: "resume --wait 30ms --json", node: sick},
	{name: "resume-stopping", args: "resume", node: stops},
	{name: "resume-down", args: "resume", down: true},
	{name: "resume-speaker", args: "resume", down: true, speaker: withdrawn()},

	{name: "status-network", args: "status", node: controltest.OnNetwork},
	{name: "status-network-json", args: "status --json", node: controltest.OnNetwork},
	{name: "status-network-troubled", args: "status", node: controltest.NetworkTroubled},
	{name: "status-network-silent", args: "status", node: neighboursSilent},
	{name: "status-draining", args: "status", node: controltest.Draining},
	{name: "status-drained", args: "status", node: drained},
	{name: "status-drained-until-restart", args: "status", node: drainedUntilRestart},

	{name: "help-shield", args: "shield"},
	{name: "help-shield-block", args: "shield block --help"},
	{name: "unknown-shield-command", args: "shield unblok"},
	{name: "status-shield", args: "status", node: shielded(controltest.ShieldStatus())},
	{name: "status-shield-troubled", args: "status", node: shielded(controltest.ShieldTroubled())},
	{name: "status-shield-off", args: "status", node: shielded(controltest.ShieldOff())},
	{name: "status-shield-unloaded", args: "status", node: shielded(controltest.ShieldUnloaded())},
	{name: "shield-status", args: "shield status", network: controltest.ShieldNetwork()},
	{name: "shield-status-json", args: "shield status --json", network: controltest.ShieldNetwork()},
	{name: "shield-status-troubled", args: "shield status", network: netWith(controltest.ShieldTroubled())},
	{name: "shield-status-off", args: "shield status", network: netWith(controltest.ShieldOff())},
	{name: "shield-status-unloaded", args: "shield status", network: netWith(controltest.ShieldUnloaded())},
	{name: "shield-status-none", args: "shield status", network: netWith(nil)},
	{name: "shield-status-none-json", args: "shield status --json", network: netWith(nil)},
	{name: "shield-status-down", args: "shield status"},
	{name: "shield-top", args: "shield top", network: controltest.ShieldNetwork()},
	{name: "shield-top-limit", args: "shield top --limit 1", network: controltest.ShieldNetwork()},
	{name: "shield-top-json", args: "shield top --json", network: controltest.ShieldNetwork()},
	{name: "shield-top-empty", args: "shield top", network: &controltest.Network{}},
	{name: "shield-top-empty-json", args: "shield top --json", network: &controltest.Network{}},
	{name: "shield-top-bad-limit", args: "shield top --limit 0", network: controltest.ShieldNetwork()},
	{name: "shield-top-refused", args: "shield top", network: noShield()},
	{name: "shield-list", args: "shield list", network: controltest.ShieldNetwork()},
	{name: "shield-list-json", args: "shield list --json", network: controltest.ShieldNetwork()},
	{name: "shield-list-empty", args: "shield list", network: &controltest.Network{}},
	{name: "shield-list-empty-json", args: "shield list --json", network: &controltest.Network{}},
	{name: "shield-list-address", args: "shield list 203.0.113.7", network: controltest.ShieldNetwork()},
	{name: "shield-list-prefix", args: "shield list 203.0.113.0/25", network: controltest.ShieldNetwork()},
	{name: "shield-list-not", args: "shield list 203.0.114.7", network: controltest.ShieldNetwork()},
	{name: "shield-list-not-json", args: "shield list --json 203.0.114.7", network: controltest.ShieldNetwork()},
	{name: "shield-list-down", args: "shield list"},
	{name: "shield-block", args: "shield block 192.0.2.7", network: controltest.ShieldNetwork()},
	{name: "shield-block-for", args: "shield block 192.0.2.0/24 2001:DB8:1::7 --for 1d --reason flood", network: controltest.ShieldNetwork()},
	{name: "shield-block-json", args: "shield block 192.0.2.0/24 2001:db8:1::/64 --for 1h --json", network: controltest.ShieldNetwork()},
	{name: "shield-block-mapped", args: "shield block ::ffff:192.0.2.7", network: controltest.ShieldNetwork()},
	{name: "shield-block-allowed", args: "shield block 203.0.113.7", network: controltest.ShieldNetwork()},
	{name: "shield-block-own", args: "shield block 192.0.2.0/24", network: controltest.ShieldNetwork(), ssh: "192.0.2.99 50122 22"},
	{name: "shield-block-own-json", args: "shield block 2001:db8:1::/64 --json", network: controltest.ShieldNetwork(), ssh: "2001:db8:1::9%eth0 50122 22"},
	{name: "shield-block-other", args: "shield block 192.0.2.0/24", network: controltest.ShieldNetwork(), ssh: "192.0.3.99 50122 22"},
	{name: "shield-block-everybody", args: "shield block 192.0.2.7 0.0.0.0/0", network: controltest.ShieldNetwork()},
	{name: "shield-block-everybody6", args: "shield block ::/0", network: controltest.ShieldNetwork()},
	{name: "shield-block-bits", args: "shield block 192.0.2.7/24", network: controltest.ShieldNetwork()},
	{name: "shield-block-name", args: "shield block mx.example.net", network: controltest.ShieldNetwork()},
	{name: "shield-block-zone", args: "shield block fe80::1%eth0", network: controltest.ShieldNetwork()},
	{name: "shield-block-nothing", args: "shield block", network: controltest.ShieldNetwork()},
	{name: "shield-block-bad-time", args: "shield block 192.0.2.7 --for soon", network: controltest.ShieldNetwork()},
	{name: "shield-block-no-time", args: "shield block 192.0.2.7 --for 0s", network: controltest.ShieldNetwork()},
	{name: "shield-block-full", args: "shield block 192.0.2.7 192.0.2.8", network: roomFor(6)},
	{name: "shield-block-full-json", args: "shield block 192.0.2.7 192.0.2.8 --json", network: roomFor(6)},
	{name: "shield-block-down", args: "shield block 192.0.2.7"},
	{name: "shield-allow", args: "shield allow 192.0.2.64/28 --reason relays", network: controltest.ShieldNetwork(), ssh: "192.0.2.65 50122 22"},
	{name: "shield-allow-json", args: "shield allow 192.0.2.64/28 --json", network: controltest.ShieldNetwork()},
	{name: "shield-unblock", args: "shield unblock 203.0.113.0/24", network: controltest.ShieldNetwork()},
	{name: "shield-unblock-json", args: "shield unblock 203.0.113.0/24 192.0.2.7 203.0.113.7 --json", network: controltest.ShieldNetwork()},
	{name: "shield-unblock-inside", args: "shield unblock 203.0.113.9", network: controltest.ShieldNetwork()},
	{name: "shield-unblock-still-inside", args: "shield unblock 203.0.113.7", network: controltest.ShieldNetwork()},
	{name: "shield-unblock-partly", args: "shield unblock 192.0.2.7 203.0.113.0/24", network: controltest.ShieldNetwork()},
	{name: "shield-unblock-file", args: "shield unblock 198.51.100.0/25", network: controltest.ShieldNetwork()},
	{name: "shield-unblock-file-too", args: "shield unblock 198.51.100.0/25", network: listedTwice()},
	{name: "shield-unblock-part-refused", args: "shield unblock 203.0.113.0/24 198.51.100.0/25 192.0.2.7", network: controltest.ShieldNetwork()},
	{name: "shield-unblock-refused", args: "shield unblock 192.0.2.7", network: noShield()},
	{name: "shield-mode", args: "shield mode generic", network: controltest.ShieldNetwork()},
	{name: "shield-mode-json", args: "shield mode generic --json", network: controltest.ShieldNetwork()},
	{name: "shield-mode-off", args: "shield mode off", network: controltest.ShieldNetwork()},
	{name: "shield-mode-open", args: "shield mode native", network: netWith(controltest.ShieldTroubled())},
	{name: "shield-mode-unknown", args: "shield mode fast", network: controltest.ShieldNetwork()},
	{name: "shield-mode-nothing", args: "shield mode", network: controltest.ShieldNetwork()},
	{name: "complete-shield", args: "__complete shield ", network: controltest.ShieldNetwork()},
	{name: "complete-shield-unblock", args: "__complete shield unblock 203.0.113.0/24 20", network: controltest.ShieldNetwork()},
	{name: "complete-shield-mode", args: "__complete shield mode ", network: controltest.ShieldNetwork()},

	{name: "help-spool", args: "spool"},
	{name: "help-spool-export", args: "help spool export"},
	{name: "spool-check", args: "spool check"},
	{name: "spool-check-json", args: "spool check --json"},
	{name: "spool-check-lost", args: "spool check", node: lost},
	{name: "spool-check-unsound", args: "spool check", node: unsound},
	{name: "spool-check-no-folder", args: "spool check --dir testdata/none"},
	{name: "spool-check-argument", args: "spool check ams1"},
	{name: "spool-set-aside-yes", args: "spool set-aside --yes", node: unsound},
	{name: "spool-set-aside-json", args: "spool set-aside --yes --json", node: lost},
	{name: "spool-set-aside-nothing", args: "spool set-aside --yes"},
	{name: "spool-set-aside-dry-run", args: "spool set-aside --dry-run", node: lost},
	{name: "spool-set-aside-asked-yes", args: "spool set-aside", node: unsound, typed: typed("yes\n")},
	{name: "spool-set-aside-asked-no", args: "spool set-aside", node: unsound, typed: typed("n\n")},
	{name: "spool-set-aside-without-terminal", args: "spool set-aside", node: unsound},
	{name: "spool-export", args: "spool export", node: unsound},
	{name: "spool-export-json", args: "spool export --json", node: unsound},
	{name: "spool-export-nothing", args: "spool export"},
	{name: "spool-export-nowhere", args: "spool export --dir testdata"},
	{name: "status-spool-lost", args: "status", node: lost},

	{name: "reload", args: "reload"},
	{name: "reload-json", args: "reload --json"},
	{name: "reload-nothing", args: "reload", node: func(n *controltest.Node) { n.Reloads = api.Reloaded{} }},
	{name: "reload-restart", args: "reload", node: func(n *controltest.Node) { n.Reloads.Restart = []string{"node.metrics", "tunnel.interface"} }},
	{name: "reload-bad", args: "reload", node: badFile},
	{name: "reload-bad-json", args: "reload --json", node: badFile},

	{name: "check-good", args: "check testdata/good.toml"},
	{name: "check-good-json", args: "check --json testdata/good.toml"},
	{name: "check-config-flag", args: "check --config testdata/good.toml"},
	{name: "check-missing", args: "check testdata/missing.toml"},

	{name: "version", args: "version"},
	{name: "version-flag", args: "--version"},
	{name: "version-flag", args: "--version"},
	{name: "version-json", args: "version --json"},
	{name: "version-down", args: "version", down: true},

	{name: "complete-commands", args: "__complete queue "},
	{name: "complete-ids", args: "__complete queue show "},
	{name: "complete-ids-typed", args: "__complete queue delete " + id(1) + " " + id(2)[:15]},
	{name: "complete-one-id", args: "__complete queue show " + id(1) + " "},
	{name: "complete-states", args: "__complete queue list --state "},
	{name: "complete-check", args: "__complete check "},
	{name: "complete-down", args: "__complete queue show ", down: true},
}

func TestStories(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range stories {
		if seen[s.name] {
			t.Fatalf("two stories are called %s", s.name)
		}
		seen[s.name+".txt"] = true
		t.Run(s.name, s.run)
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[filepath.Base(f)] {
			t.Errorf("%s belongs to no story", f)
		}
	}
}

func (s story) run(t *testing.T) {
	n := controltest.New()
	if s.node != nil {
		s.node(n)
	}
	socket := filepath.Join(t.TempDir(), "none.sock")
	if !s.down {
		socket, _ = controltest.Start(t, n, false)
	}
	sockets := control.Sockets{Node: socket}
	if s.speaker != nil {
		sockets.Speaker = controltest.StartSpeaker(t, s.speaker)
	}
	if s.network != nil {
		sockets.Network = s.network.Start(t)
	}
	out, errOut, code := s.runProgram(t, sockets)
	got := fmt.Sprintf("$ anymx %s\n%s--- stderr\n%s--- exit %d\n", s.args, out, errOut, code)
	got = settle(got, socket)
	if sockets.Speaker != "" {
		got = strings.ReplaceAll(got, sockets.Speaker, "SPEAKER")
	}
	got = strings.ReplaceAll(got, filepath.Dir(socket)+"/net.sock", "BESIDE")
	kit.Golden(t, filepath.Join("testdata", s.name+".txt"), got, *update)
	if whole := strings.Contains(s.args, "--json") && code != exitUsage && !strings.Contains(s.name, "broken"); whole && !json.Valid([]byte(out)) {
		t.Errorf("not JSON:\n%s", out)
	}
	if strings.ContainsAny(out+errOut, "\x1b\x07\u009b") {
		t.Error("a control character reached the terminal")
	}
}

// settle replaces text that differs between runs.
func settle(text, socket string) string {
	text = strings.ReplaceAll(text, socket, "SOCKET")
	v := api.ThisVersion()
	text = strings.ReplaceAll(text, v.String(), "VERSION")
	text = regexp.MustCompile(`(?s)\{\s*"version": "[^}]*\}`).ReplaceAllString(text, "{VERSION}")
	return text
}

func runProgram(t *testing.T, s story, socket string) (out, errOut string, code int) {
	t.Helper()
	return s.runProgram(t, control.Sockets{Node: socket})
}

// runProgram runs the story against the node, which is found by the environment, or, with a speaker
// or an anymx-net, by the config.
func (s story) runProgram(t *testing.T, sockets control.Sockets) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	args := strings.Split(s.args, " ")
	if s.args == "" {
		args = []string{}
	}
	env := sockets.Node
	if sockets.Speaker != "" || sockets.Network != "" {
		text := fmt.Sprintf("[node]\ncontrol = %q\n", sockets.Node)
		if sockets.Speaker != "" {
			text += fmt.Sprintf("[bgp]\ncontrol = %q\n", sockets.Speaker)
		}
		if sockets.Network != "" {
			text += fmt.Sprintf("[net]\ncontrol = %q\n", sockets.Network)
		}
		file := filepath.Join(t.TempDir(), "anymx.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		env, args = "", append([]string{"--config", file}, args...)
	}
	p := &program{
		in: strings.NewReader(""), out: &o, errOut: &e,
		getenv:   func(key string) string { return map[string]string{"ANYMX_CONTROL": env, "SSH_CLIENT": s.ssh}[key] },
		now:      func() time.Time { return controltest.Now },
		terminal: func() bool { return s.typed != nil },
		screen:   noScreen, poll: time.Millisecond,
	}
	if s.typed != nil {
		p.in = strings.NewReader(*s.typed)
	}
	code = p.run(context.Background(), args)
	return o.String(), e.String(), code
}
