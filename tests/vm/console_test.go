package vm

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// wired returns a console whose machine is the test.
func wired(t *testing.T) (*Console, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	log, err := os.Create(filepath.Join(t.TempDir(), "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	c := newConsole(near, log, time.Now())
	t.Cleanup(func() {
		_, _ = far.Close(), near.Close()
		<-c.done
	})
	return c, far
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestLines(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"one\r\ntwo\nthree", "one|two|three"},
		{"\x1b[1m\x1b[37mbright\x1b[0m word\r\n", "bright word|"},
		{"\x1b[2J\x1b[01;01HUEFI\x1b[05;01HPress\x1b[06;01HShell> ", "UEFI|Press|Shell> "},
		{"typp\bo\n", "typo|"},
		{"\x1b]0;a title\x07text\x1b(B\n", "text|"},
		{"a\tb\x00\x7f\n\n", "a\tb||"},
		{"caf\xc3\xa9\n", "café|"},
	} {
		c, conn := wired(t)
		write(t, conn, test.text)
		write(t, conn, "END\n")
		if _, err := c.ExpectLine(t.Context(), regexp.MustCompile("END$"), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range c.Lines() {
			got = append(got, l.Text)
		}
		if text := strings.Join(got, "|"); text != test.want+"END" {
			t.Errorf("%q is %q, want %q", test.text, text, test.want)
		}
	}
}

func TestExpectLine(t *testing.T) {
	c, conn := wired(t)
	write(t, conn, "version 1\r\nready\r\nversion 2\r\nlogin: ")
	for _, want := range []string{"version 1", "version 2", "login: "} {
		pattern := regexp.MustCompile(`^version \d+$`)
		if want == "login: " {
			pattern = regexp.MustCompile(`: $`)
		}
		got, err := c.ExpectLine(t.Context(), pattern, 5*time.Second)
		if err != nil || got.Text != want {
			t.Fatalf("%q, %v, want %q", got.Text, err, want)
		}
	}
	// A line that is still being written does not count as complete.
	go func() {
		write(t, conn, "\nhalf")
		write(t, conn, " and half\n")
	}()
	if got, err := c.ExpectLine(t.Context(), regexp.MustCompile("^half"), 5*time.Second); err != nil || got.Text != "half and half" {
		t.Errorf("%q, %v", got.Text, err)
	}
	if _, err := c.ExpectLine(t.Context(), regexp.MustCompile("never"), 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "half and half") {
		t.Errorf("the error of a wait does not show the console: %v", err)
	}
	_ = conn.Close()
	if _, err := c.ExpectLine(t.Context(), regexp.MustCompile("never"), time.Minute); err == nil {
		t.Error("a wait for a dead machine succeeds")
	}
}

func TestTypeAndAttach(t *testing.T) {
	c, conn := wired(t)
	typed := make(chan string, 1)
	go func() {
		b := make([]byte, 100)
		n, _ := conn.Read(b)
		typed <- string(b[:n])
	}()
	if err := c.Enter("drain"); err != nil || <-typed != "drain\r" {
		t.Error("what was typed did not arrive:", err)
	}
	mine, theirs := net.Pipe()
	attached := make(chan struct{})
	go func() {
		defer close(attached)
		c.Attach(t.Context(), theirs)
	}()
	b := make([]byte, 100)
	write(t, mine, "x")
	if n, err := conn.Read(b); err != nil || string(b[:n]) != "x" {
		t.Errorf("what was typed over there did not arrive: %q, %v", b[:n], err)
	}
	write(t, conn, "hello")
	if n, err := mine.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
	_ = mine.Close()
	<-attached
}

func TestReached(t *testing.T) {
	second := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	lines := []Line{
		{second(3), "BdsDxe: loading Boot0001"},
		{second(9), "[    0.000000] Linux version 6.12"},
		{second(9.1), "[    2.000000] printk: console enabled"},
		{second(9.5), "Booting initrd of Debian GNU/Linux 13 (trixie)."},
		{second(15), "Welcome to Debian GNU/Linux 13 (trixie)!"},
		{second(20), "[   13.500000] anymx: ready"},
		{second(40), "[    0.000000] Linux version 6.12"},
		{second(40.1), "anymx: ready"},
	}
	got := reached(lines, []Marker{{"ready", regexp.MustCompile("anymx: ready")}, {"never", regexp.MustCompile("never")}})
	want := []Reached{{Firmware, second(3)}, {Kernel, second(6.5)}, {Initrd, second(9.5)}, {Root, second(15)}, {"ready", second(20)}}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if d := got[i].At - want[i].At; got[i].Name != want[i].Name || d < -time.Millisecond || d > time.Millisecond {
			t.Errorf("%v, want %v", got[i], want[i])
		}
	}
	if text := Split(got); text != "firmware 3.0s, kernel 3.5s, initrd 3.0s, root 5.5s, ready 5.0s" {
		t.Error(text)
	}
}
