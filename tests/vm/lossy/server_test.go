package lossy

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, d *Disk) *Server {
	t.Helper()
	s, err := Serve(d, filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// client runs an NBD client program and returns its output.
func client(t *testing.T, from string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		t.Skipf("%s is not installed (package %s)", args[0], from)
	}
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestNBDInfo(t *testing.T) {
	s := serve(t, blank(t, Options{}))
	out := client(t, "libnbd-bin", "nbdinfo", "nbd+unix:///?socket="+s.Socket())
	for _, want := range []string{"export-size: 1048576", "can_flush: true", "can_fua: true", "can_trim: true", "can_zero: true",
		"can_multi_conn: true", "is_read_only: false", "block_size_preferred: 4096"} {
		if !strings.Contains(out, want) {
			t.Errorf("nbdinfo does not print %q:\n%s", want, out)
		}
	}
}

// What qemu-io wrote and flushed survives; what it did not flush may be torn.
func TestQEMU(t *testing.T) {
	lost := false
	for seed := range uint64(20) {
		d := blank(t, Options{})
		s := serve(t, d)
		// It must abort, because qemu-io flushes when it exits normally. -F writes through.
		out, err := qemuIO(t, s, "write -P 1 0 64k", "flush", "write -P 2 128k 64k", "write -f -P 3 256k 64k", "write -z 64k 4k", "abort")
		if err == nil || strings.Contains(out, "failed") {
			t.Fatalf("qemu-io: %v: %s", err, out)
		}
		c, err := s.PowerCut(seed)
		if err != nil {
			t.Fatal(err)
		}
		if c.Writes != 2 {
			t.Fatalf("%v, want 2 writes in the cache; %+v", c, d.Counts())
		}
		lost = lost || c.Lost > 0
		if out, err := qemuIO(t, s, "read -P 1 0 64k", "read -P 3 256k 64k"); err != nil || strings.Contains(out, "failed") {
			t.Fatalf("%v: qemu-io does not find what it had flushed: %v: %s", c, err, out)
		}
		if c.Lost == 2 {
			if out, err := qemuIO(t, s, "read -P 7 64k 192k"); err != nil || strings.Contains(out, "failed") {
				t.Fatalf("%v: what was before is not there: %v: %s", c, err, out)
			}
		}
	}
	if !lost {
		t.Error("nothing was lost in 20 cuts")
	}
}

func qemuIO(t *testing.T, s *Server, commands ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		t.Skip("qemu-io is not installed (package qemu-utils)")
	}
	args := []string{"-f", "raw", "-t", "writeback"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.CommandContext(t.Context(), "qemu-io", append(args, "nbd+unix:///?socket="+s.Socket())...).CombinedOutput()
	return string(out), err
}

// A client that sends invalid data is disconnected, and the next one is served.
func TestNonsense(t *testing.T) {
	s := serve(t, blank(t, Options{}))
	shake := binary.BigEndian.AppendUint32(nil, flagFixed|flagNoZeros)
	option := func(n uint32, body string) []byte {
		b := binary.BigEndian.AppendUint64(nil, magicOption)
		b = binary.BigEndian.AppendUint32(b, n)
		return append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...)
	}
	for _, text := range [][]byte{
		append(shake[:4:4], "this is not an option at all"...),
		append(shake[:4:4], option(optionAbort, "")...),
		append(append(shake[:4:4], option(optionExportName, "")...), bytes.Repeat([]byte("x"), requestSize)...),
	} {
		conn, err := net.Dial("unix", s.Socket())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(text); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("after %q: %v", text, err)
		}
		_ = conn.Close()
	}
	client(t, "libnbd-bin", "nbdinfo", "--size", "nbd+unix:///?socket="+s.Socket())
}

func FuzzHandshake(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var out bytes.Buffer
		err := handshake(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(text), &out}, 1<<20)
		if err == nil && !bytes.Contains(out.Bytes(), exported(1<<20)) {
			t.Error("agreed on a disk that it was not told of")
		}
	})
}
