package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/config"
)

// Every duration is a number of seconds, in text and in JSON, and within groups.
func TestDurations(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0"},
		{15 * time.Microsecond, "0"},
		{150 * time.Microsecond, "0.0002"},
		{1503 * time.Microsecond, "0.0015"},
		{250 * time.Millisecond, "0.25"},
		{90 * time.Second, "90"},
		{-1500 * time.Millisecond, "-1.5"},
		{14 * 24 * time.Hour, "1209600"},
	} {
		var text, json bytes.Buffer
		for _, log := range []*slog.Logger{NewLog(&text, false, nil), NewLog(&json, true, nil)} {
			log.With("a", test.d).WithGroup("g").Info("x", "b", test.d, "c", config.Duration(test.d))
		}
		if want := fmt.Sprintf(" a=%[1]s g.b=%[1]s g.c=%[1]s\n", test.want); !strings.HasSuffix(text.String(), want) {
			t.Errorf("%s: %q, want %q", test.d, text.String(), want)
		}
		if want := fmt.Sprintf(`"a":%[1]s,"g":{"b":%[1]s,"c":%[1]s}}`+"\n", test.want); !strings.HasSuffix(json.String(), want) {
			t.Errorf("%s: %q, want %q", test.d, json.String(), want)
		}
	}
}

// journalFile returns a file that looks like the stream to the journal from systemd.
func journalFile(t *testing.T) (f *os.File, lines func() []string) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	sys := info.Sys().(*syscall.Stat_t)
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", sys.Dev, sys.Ino))
	return f, func() []string {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	}
}

// In the journal each line begins with its priority; elsewhere it does not.
func TestPriorities(t *testing.T) {
	levels := []slog.Level{slog.LevelError + 4, slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug, slog.LevelDebug - 4}
	write := func(w io.Writer) {
		log := NewLog(w, false, slog.Level(-100)).With("a", 1).WithGroup("g")
		for _, level := range levels {
			log.Log(t.Context(), level, "x\n<0>", "b", 2)
		}
		WriteError(w, "anymx-x", errors.New("one\ntwo"))
	}
	f, lines := journalFile(t)
	write(f)
	got := lines()
	want := []string{"<3>", "<3>", "<4>", "<6>", "<7>", "<7>", "<3>", "<3>"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i, line := range got {
		if !strings.HasPrefix(line, want[i]) || i < len(levels) && !strings.HasSuffix(line, ` msg="x\n<0>" a=1 g.b=2`) {
			t.Errorf("line %d: %q, want %s", i, line, want[i])
		}
	}
	if got[6] != "<3>anymx-x: one" || got[7] != "<3>two" {
		t.Errorf("%q", got[6:])
	}
	other, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var b bytes.Buffer
	for _, w := range []io.Writer{other, &b} {
		write(w)
	}
	text, err := os.ReadFile(other.Name())
	if err != nil || !strings.HasPrefix(string(text), "time=") || strings.Contains(b.String(), "\n<") || b.Len() != len(text) {
		t.Errorf("%v, %q", err, text)
	}
}
