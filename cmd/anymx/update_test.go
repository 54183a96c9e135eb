package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

// machineRun is one run of the command line against a machine.
type machineRun struct {
	name   string
	args   string // BUNDLE is a file of 5 bytes
	in     string
	change func(*controltest.Machine)
	screen bool
	seen   func() // called when "working" is shown

	code   int
	out    string
	errOut string // a part of the output
	want   []controltest.MachineOrdered
}

var machineRuns = []machineRun{
	{name: "file", args: "update BUNDLE", out: "reboot: version 0.6.0 is next\n",
		errOut: "receive  version 0.6.0, built 2026-03-12, signed by SHA256:abc (releases)\nreceive  100 MiB of 217 MiB\nwrite    the other slot is made empty\ncheck    217 MiB of 217 MiB\ndrain    draining, converge",
		want:   []controltest.MachineOrdered{{Kind: "update", Bytes: 5}}},
	{name: "piped in", args: "update - --stage-only --allow-older", in: "a bundle", out: "reboot: version 0.6.0 is next\n",
		want: []controltest.MachineOrdered{{Kind: "update", Bytes: 8, Update: api.UpdateRequest{StageOnly: true, AllowOlder: true}}}},
	{name: "URL", args: "update https://example.net/a.update --dry-run", out: "reboot: version 0.6.0 is next\n",
		want: []controltest.MachineOrdered{{Kind: "update", Update: api.UpdateRequest{URL: "https://example.net/a.update", DryRun: true}}}},
	{name: "on a screen", args: "update BUNDLE", screen: true, out: "reboot: version 0.6.0 is next\n",
		errOut: "receive  [#############-----------------]  46%  100 MiB of 217 MiB", want: []controltest.MachineOrdered{{Kind: "update", Bytes: 5}}},
	{name: "refused", args: "update BUNDLE", change: func(m *controltest.Machine) {
		m.Steps, m.Err = m.Steps[:1], &api.Error{Code: api.BadRequest, Text: "version 0.6.0 runs already"}
	}, code: exitNo, errOut: "anymx: version 0.6.0 runs already\n", want: []controltest.MachineOrdered{{Kind: "update", Bytes: 5}}},
	{name: "refused, for programs", args: "update BUNDLE --json", change: func(m *controltest.Machine) {
		m.Steps, m.Err = m.Steps[:1], &api.Error{Code: api.BadRequest, Text: "version 0.6.0 runs already"}
	}, code: exitNo, out: `{"step":"receive","text":"version 0.6.0, built 2026-03-12, signed by SHA256:abc (releases)"}
{"error":"version 0.6.0 runs already","code":"bad_request"}
`, want: []controltest.MachineOrdered{{Kind: "update", Bytes: 5}}},
	{name: "it is gone while it reboots", args: "reboot", change: func(m *controltest.Machine) {
		m.Steps = []api.MachineProgress{{Step: api.MachineReboot, Text: "reboot"}}
	}, errOut: "reboot   reboot\n", want: []controltest.MachineOrdered{{Kind: "reboot"}}},
	{name: "it is gone before", args: "reboot", change: func(m *controltest.Machine) { m.Steps = m.Steps[:2] },
		code: exitUnreachable, errOut: "it has ended before the order was carried out", want: []controltest.MachineOrdered{{Kind: "reboot"}}},
	{name: "rollback", args: "update --rollback", out: "reboot: version 0.6.0 is next\n", want: []controltest.MachineOrdered{{Kind: "rollback"}}},
	{name: "poweroff", args: "poweroff --now --reason rack", out: "reboot: version 0.6.0 is next\n",
		want: []controltest.MachineOrdered{{Kind: "poweroff", Power: api.PowerRequest{Reason: "rack", Now: true}}}},
	{name: "status", args: "update --status", out: "Image     version 0.5.0, confirmed\n" +
		"Slots     running    0.5.0, confirmed, 3 boot attempts left\n          other      0.6.0, not confirmed, no boot attempts left: booted last\n" +
		"Update  ! 0.6.0, from 0.5.0, ordered 3d ago, did NOT hold: the machine came back, 3d ago\nConfig    from the file system ANYMX on /dev/sdb1\n"},
	{name: "provision", args: "provision", change: func(m *controltest.Machine) {
		m.Provisioned = api.Provisioned{Source: "ESP", InForce: true, OK: true, Text: "anymx: the config is from the ESP; no problem found.\n"}
	}, out: "anymx: the config is from the ESP; no problem found.\n", want: []controltest.MachineOrdered{{Kind: "provision"}}},
	{name: "provision finds none", args: "provision --forget", change: func(m *controltest.Machine) {
		m.Provisioned = api.Provisioned{Text: "anymx: this node has no config.\n\n\x1b[2J\n"}
	}, code: exitNo, out: "anymx: this node has no config.\n\n\\x1b[2J\n",
		want: []controltest.MachineOrdered{{Kind: "provision", Provision: api.ProvisionRequest{Forget: true}}}},
	{name: "provision, for programs", args: "provision --json", change: func(m *controltest.Machine) {
		m.Provisioned = api.Provisioned{Text: "none\n"}
	}, code: exitNo, out: "{\n  \"source\": \"\",\n  \"in_force\": false,\n  \"ok\": false,\n  \"text\": \"none\\n\"\n}\n", want: []controltest.MachineOrdered{{Kind: "provision"}}},
	{name: "nothing", args: "update", code: exitUsage, errOut: "say which update: a FILE, or an URL"},
	{name: "two", args: "update a b", code: exitUsage, errOut: `"b" is one argument too many`},
	{name: "both", args: "update --status --rollback", code: exitUsage, errOut: "--rollback and --status exclude each other: give one of them"},
	{name: "status of a file", args: "update --status a", code: exitUsage, errOut: "stand alone"},
	{name: "no file", args: "update /nowhere/at/all", code: exitNo, errOut: "no such file"},
	{name: "nobody", args: "update --status --machine /nowhere/s", code: exitUnreachable, errOut: "no anymx-machine answers on /nowhere/s"},
	{name: "argument", args: "reboot now", code: exitUsage, errOut: "now"},
}

func TestMachineCommands(t *testing.T) {
	for _, r := range machineRuns {
		t.Run(r.name, func(t *testing.T) {
			m := &controltest.Machine{State: controltest.MachineStatus(), Steps: controltest.MachineSteps()}
			if r.change != nil {
				r.change(m)
			}
			file := filepath.Join(t.TempDir(), "b.update")
			if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errOut, code := runOnMachine(t.Context(), t, r, m.Start(t), file)
			if code != r.code || out != r.out || !strings.Contains(errOut, r.errOut) {
				t.Errorf("exit %d\n--- stdout\n%s--- stderr\n%s", code, out, errOut)
			}
			got := m.Orders()
			if len(got) != len(r.want) || len(got) > 0 && got[0] != r.want[0] {
				t.Errorf("ordered: %+v", got)
			}
		})
	}
}

func runOnMachine(ctx context.Context, t *testing.T, r machineRun, socket, file string) (out, errOut string, code int) {
	t.Helper()
	var o bytes.Buffer
	e := triggering{seen: r.seen}
	p := &program{
		in: strings.NewReader(r.in), out: &o, errOut: &e,
		getenv: func(key string) string { return map[string]string{"ANYMX_MACHINE": socket}[key] },
		now:    func() time.Time { return controltest.Now }, terminal: func() bool { return false },
		screen: func() (int, int, bool) { return 100, 24, r.screen }, poll: time.Millisecond,
	}
	code = p.run(ctx, strings.Fields(strings.ReplaceAll(r.args, "BUNDLE", file)))
	return o.String(), e.String(), code
}

// Each line of --json is a JSON value.
func TestMachineJSON(t *testing.T) {
	m := &controltest.Machine{State: controltest.MachineStatus(), Steps: controltest.MachineSteps()}
	out, errOut, code := runOnMachine(t.Context(), t, machineRun{args: "reboot --json"}, m.Start(t), "")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || errOut != "" || len(lines) != len(m.Steps) {
		t.Errorf("%d\n%s\n%s", code, out, errOut)
	}
	for i, line := range lines {
		var p api.MachineProgress
		if err := json.Unmarshal([]byte(line), &p); err != nil || p != m.Steps[i] {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// triggering is the output of a program, and reports when "working" is written.
type triggering struct {
	bytes.Buffer
	seen func()
}

func (w *triggering) Write(p []byte) (int, error) {
	if w.seen != nil && bytes.Contains(p, []byte("working")) {
		w.seen()
	}
	return w.Buffer.Write(p)
}

// After an interrupt the output says whether the machine continues.
func TestMachineInterrupted(t *testing.T) {
	for step, want := range map[api.MachineStep]string{api.MachineReceive: "nothing was changed", api.MachineWrite: "it goes on without this command"} {
		ctx, cancel := context.WithCancel(t.Context())
		_, errOut, code := runOnMachine(ctx, t, machineRun{args: "reboot", seen: cancel}, hold(t, step), "")
		if code != exitInterrupted || !strings.Contains(errOut, want) {
			t.Errorf("%s: exit %d\n%s", step, code, errOut)
		}
		cancel()
	}
}

// hold serves a machine that stays in a step until its client is gone.
func hold(t *testing.T, step api.MachineStep) (socket string) {
	t.Helper()
	e, err := control.NewEndpoint(control.EndpointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.HandleStream("POST /v1/reboot", func(r *http.Request, send func(any) error) error {
		if err := send(api.MachineProgress{Step: step, Text: "working"}); err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, r.Body) // the end of the connection is only noticed after the body
		<-r.Context().Done()
		return nil
	})
	return controltest.StartEndpoint(t, "s", e)
}
