package machine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/appliance/bundle"
	"anymx/edge/appliance/slot/slottest"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

// Root hashes of the versions that tests know.
var hashes = map[string]string{
	"0.4.0": strings.Repeat("44", 32), "0.5.0": strings.Repeat("50", 32), "0.6.0": strings.Repeat("60", 32), "0.7.0": strings.Repeat("70", 32),
}

// world is a machine with its environment: a node and a speaker with real sockets, and files as
// disk and ESP.
type world struct {
	*slottest.Machine
	t       *testing.T
	options Options
	edge    *edge
	speaker *controltest.Speaker
	routers atomic.Pointer[api.SpeakerStatus]
	key     string // the signing key
	log     *safeBuffer
}

// edge is a node whose self-test gives the result that a test wants.
type edge struct {
	*controltest.Node
	again     atomic.Bool // it was restarted: back in service
	mu        sync.Mutex
	lacks     error
	selfTests int
}

func (e *edge) SelfTest(ctx context.Context) (api.SelfTest, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.selfTests++
	if e.lacks != nil {
		return api.SelfTest{}, e.lacks
	}
	return e.Node.SelfTest(ctx)
}

func (e *edge) lack(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lacks = err
}

// safeBuffer is safe for concurrent use.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newWorld returns a machine that runs version 0.5.0, with a node in service.
func newWorld(t *testing.T) *world {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen here (package openssh-client)")
	}
	m := slottest.New(t, "0.5.0", hashes["0.5.0"])
	w := &world{Machine: m, t: t, key: m.Root + "/key", log: &safeBuffer{}}
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "releases", "-f", w.key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.edge = &edge{Node: controltest.New()}
	w.edge.Clear() // with an empty spool, a drain can end
	w.edge.OnStatus = func(s *api.Status) {
		if w.edge.again.Swap(false) {
			s.Phase, s.Drain = api.Running, nil
		}
		if s.Phase == api.Draining {
			s.Phase, s.Since = api.Drained, time.Now()
			s.Drain.Sessions, s.Drain.Messages, s.Drain.Held = 0, 0, 0
		}
	}
	w.edge.State.Sessions.Open = 0
	w.speaker = &controltest.Speaker{OnAsk: func(s *api.SpeakerStatus) { *s = *w.routers.Load() }}
	w.sessions("198.51.100.1")
	node, _ := controltest.Start(t, w.edge, false)
	speaker := controltest.StartSpeaker(t, w.speaker)
	w.put("/anymx.toml", "[node]\ncontrol = \""+node+"\"\n[bgp]\ncontrol = \""+speaker+"\"\n")
	w.put("/systemctl", "#!/bin/sh\n[ \"$1\" != show ] || { cat "+m.Root+"/restarts 2>/dev/null; exit 0; }\necho \"$@\" >>"+m.Root+"/orders\n")
	if err := os.Chmod(m.Root+"/systemctl", 0o755); err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	w.options = Options{
		System: m.System, State: m.Root + "/state", Keys: w.key + ".pub", Config: m.Root + "/anymx.toml", Socket: filepath.Join(t.TempDir(), "s"),
		Sysupdate: wrap(t, m.Root, "sysupdate", m.Root), Systemctl: m.Root + "/systemctl", Fetch: []string{wrap(t, m.Root, "fetch", m.Root)},
		Users: []string{me.Username}, Retry: 10 * time.Millisecond, Poll: 5 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	return w
}

func (w *world) put(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.Root+name, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// run serves the machine's program until the test ends or stop is called.
func (w *world) run() (c *control.MachineClient, stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- Run(ctx, w.options, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		w.t.Fatal(err)
	}
	c = control.NewMachineClient(w.options.Socket)
	stop = sync.OnceFunc(func() {
		cancel()
		c.Close()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return c, stop
}

// contents returns the files of a version, with zeros after its root.
func contents(version string) map[bundle.Role][]byte {
	return map[bundle.Role][]byte{
		bundle.Verity: bytes.Repeat([]byte("tree of "+version), 5000), bundle.Root: bytes.Repeat([]byte("root of "+version), 150_000),
		bundle.Kernel: []byte("kernel of " + version),
	}
}

const zeros = 300_000

// bundle returns a signed bundle of a version.
func (w *world) bundle(version string, spoil ...func(*bundle.Manifest)) []byte {
	w.t.Helper()
	m := bundle.NewManifest(version, hashes[version], time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC))
	files := contents(version)
	for _, r := range []bundle.Role{bundle.Verity, bundle.Root, bundle.Kernel} {
		sum := sha256.Sum256(files[r])
		f := bundle.File{Name: bundle.FileName(version, r), Role: r, Size: int64(len(files[r])), SHA256: hex.EncodeToString(sum[:])}
		if r == bundle.Root {
			f.Zeros = zeros
		}
		m.Files = append(m.Files, f)
	}
	for _, s := range spoil {
		s(m)
	}
	text, err := m.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.TempDir(), "manifest.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-Y", "sign", "-n", bundle.Namespace, "-f", w.key, file).CombinedOutput(); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		w.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := bundle.Write(&b, text, sig, func(f bundle.File) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files[f.Role])), nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return b.Bytes()
}

// end follows an operation to its end and returns the reported steps, the last message and the
// error.
func end(steps iter.Seq2[api.MachineProgress, error]) (walked []api.MachineStep, last string, err error) {
	for p, err := range steps {
		if err != nil {
			return walked, last, err
		}
		if len(walked) == 0 || walked[len(walked)-1] != p.Step {
			walked = append(walked, p.Step)
		}
		last = p.Text
	}
	return walked, last, nil
}

// update starts an update from a bundle.
func (w *world) update(c *control.MachineClient, want api.UpdateRequest, b []byte) ([]api.MachineStep, string, error) {
	w.t.Helper()
	return end(c.Update(w.t.Context(), want, bytes.NewReader(b), int64(len(b))))
}

// orders returns the commands that systemd received.
func (w *world) orders() string {
	text, err := os.ReadFile(w.Root + "/orders")
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// entries checks the names of the boot entries.
func (w *world) entries(want ...string) {
	w.t.Helper()
	var got []string
	for _, name := range w.Names(w.t) {
		if !strings.HasPrefix(name, ".#") {
			got = append(got, name)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		w.t.Errorf("boot entries %v, want %v", got, want)
	}
}

// holds checks that the other slot has a version, complete and as it was signed.
func (w *world) holds(version string) {
	w.t.Helper()
	t, err := w.Read()
	if err != nil {
		w.t.Fatal(err)
	}
	other := t.Other()
	if other.Version != version || rootHashOf(other) != hashes[version] {
		w.t.Errorf("the other slot has %q with root hash %s", other.Version, rootHashOf(other))
		return
	}
	disk, err := os.ReadFile(w.Disk)
	if err != nil {
		w.t.Fatal(err)
	}
	files := contents(version)
	root := append(bytes.Clone(files[bundle.Root]), make([]byte, zeros)...)
	if !bytes.Equal(disk[other.Root.Start:][:len(root)], root) || !bytes.Equal(disk[other.Verity.Start:][:len(files[bundle.Verity])], files[bundle.Verity]) {
		w.t.Error("the partitions are not what was signed")
	}
}

// boots restarts the machine as the loader would: it boots the first entry and counts the attempt.
func (w *world) boots(count bool) string {
	w.t.Helper()
	t, err := w.Read()
	if err != nil {
		w.t.Fatal(err)
	}
	first := t.Entries()[0]
	next := first
	if count && next.Left > 0 {
		next.Left, next.Done = next.Left-1, next.Done+1
	}
	if err := os.Rename(t.Path(first), filepath.Join(filepath.Dir(t.Path(first)), next.Name())); err != nil {
		w.t.Fatal(err)
	}
	w.Boot(w.t, first.Version, hashes[first.Version])
	w.put("/orders", "")
	w.edge.again.Store(true)
	return first.Version
}

// recordConfirmed records versions as confirmed.
func (w *world) recordConfirmed(versions ...string) {
	w.t.Helper()
	if err := os.MkdirAll(w.options.State, 0o700); err != nil {
		w.t.Fatal(err)
	}
	for _, v := range versions {
		if err := (records{w.options.State}).addConfirmed(confirmedVersion{v, hashes[v], time.Now()}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) record() *record {
	w.t.Helper()
	last, err := records{w.options.State}.last()
	if err != nil {
		w.t.Fatal(err)
	}
	return last
}

// sessions sets which peers of the speaker have a session.
func (w *world) sessions(established ...string) {
	s := controltest.SpeakerStatus()
	s.Peers = nil
	for _, a := range []string{"198.51.100.1", "2001:db8::1"} {
		p := api.SpeakerPeer{Address: netip.MustParseAddr(a), ASN: 64500, State: "Connect", LastError: "connection refused"}
		for _, up := range established {
			if up == a {
				p.State, p.LastError = "Established", ""
			}
		}
		s.Peers = append(s.Peers, p)
	}
	w.routers.Store(&s)
}
