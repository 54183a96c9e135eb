package console

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

func sifted(text string) string {
	var s sieve
	var b strings.Builder
	for i := range len(text) {
		b.WriteString(s.pass(text[i]))
	}
	return b.String()
}

func TestSieve(t *testing.T) {
	for typed, want := range map[string]string{
		"status\r":                           "status\r",
		"a\r\nb\nc\r\rd\n\r":                 "a\rb\rc\r\rd\r\r",
		"\x03\x04\x7f\x08":                   "\x03\x04\x7f\x08",
		"a\x00\x07\x11\x13\x1a\x1c":          "a",
		"a\tb":                               "a b",
		"\x1b[A\x1bOB\x1b[C\x1b[D":           "\x10\x0e\x06\x02",
		"\x1b[1~\x1b[4~\x1b[3~\x1b[H\x1bOF":  "\x01\x05\x1b[3~\x01\x05",
		"\x1b[[Ax\x1bOPy\x1b[15~z":           "xyz", // function keys
		"\x1b[200~pasted\x1b[201~":           "pasted",
		"\x1bxa":                             "a",
		"\x1b\x1b[Aa":                        "\x10a",
		"\x1b\x03":                           "\x03",
		"\x1b[12\x03":                        "\x03",
		"\x1b[12\r":                          "\r",
		"gr\xc3\xbcn \xe2\x82\xac":           "grün €",
		"a\xffb\xc3\xc3\xbcc\xe2\x82d":       "abücd",
		"\xc2\x9b2J\xe2\x80\xae\xef\xbf\xbd": "2J", // C1, a direction override, U+FFFD
		"\xc3\r":                             "\r",
		"\x1b[" + strings.Repeat("1", 300):   strings.Repeat("1", 300-(maxSequence-2)),
	} {
		if got := sifted(typed); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// Whatever the input is, the editor only gets keys that it knows, and ends when the input ends.
func FuzzSieve(f *testing.F) {
	for _, seed := range []string{"status\r", "\x1b[A\x1b[3~x\r", "\x1b[[A", "\xc3\xc3\xbc", "\x1b[" + strings.Repeat(";1", 200), "\x10\x10a\rb\r\x10\x0e\x17\x0b\x15\x05\r"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := sifted(text)
		if !utf8.ValidString(got) {
			t.Fatalf("%q: no UTF-8: %q", text, got)
		}
		if left := strings.ReplaceAll(got, "\x1b[3~", ""); strings.ContainsFunc(left, func(r rune) bool {
			return !unicode.IsPrint(r) && !strings.ContainsRune(editing+"\r", r)
		}) {
			t.Fatalf("%q: %q passed", text, got)
		}
		in := byteReader(strings.NewReplacer("\x03", "", "\x04", "").Replace(got))
		e := term.NewTerminal(&in, "> ")
		for range len(text) + 1 {
			if _, err := e.ReadLine(); err != nil {
				return
			}
		}
		t.Fatalf("%q: the editor does not end", text)
	})
}

// byteReader reads one byte at a time and discards everything written to it.
type byteReader string

func (o *byteReader) Read(p []byte) (int, error) {
	if *o == "" || len(p) == 0 {
		return 0, errHungUp
	}
	p[0] = (*o)[0]
	*o = (*o)[1:]
	return 1, nil
}

func (*byteReader) Write(p []byte) (int, error) { return len(p), nil }

func TestKeysAreBounded(t *testing.T) {
	k := &keys{change: make(chan struct{}, 1)}
	for range maxAhead * 3 {
		k.add("é")
	}
	if len(k.ahead) > maxAhead || !utf8.Valid(k.ahead) {
		t.Errorf("%d bytes are kept", len(k.ahead))
	}
	interrupted := 0
	restore := k.onInterrupt(func() { interrupted++ })
	k.add("\x03") // it gets through even if the buffer is full
	restore()
	if interrupted != 1 || len(k.ahead) != 0 {
		t.Errorf("interrupted %d times, %d bytes left", interrupted, len(k.ahead))
	}
	k.add("\x03")
	if string(k.ahead) != "\x05\x15\r" {
		t.Errorf("%q", k.ahead)
	}
}

func TestNextKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keys{change: make(chan struct{}, 1), last: time.Now()}
		began := time.Now()
		if _, err := k.next(t.Context(), time.Minute, nil); !errors.Is(err, errIdle) || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		k.touch()
		go func() {
			time.Sleep(50 * time.Second)
			k.add("a")
		}()
		if c, err := k.next(t.Context(), time.Minute, nil); c != 'a' || err != nil {
			t.Errorf("%q %v", c, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		k.add("b")
		if _, err := k.next(ctx, 0, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a key was taken by a command that has ended: %v", err)
		}
		poke := make(chan struct{}, 1)
		poke <- struct{}{}
		in := &typed{keys: k, ctx: t.Context(), poke: poke}
		if n, err := in.Read(make([]byte, 8)); n != 1 || err != nil {
			t.Errorf("%d %v: a key goes before news", n, err)
		}
		in.poke = poke
		if _, err := in.Read(make([]byte, 8)); !errors.Is(err, errPoked) {
			t.Error(err)
		}
		k.end(errHungUp)
		if _, err := k.next(t.Context(), 0, nil); !errors.Is(err, errHungUp) {
			t.Error(err)
		}
	})
}
