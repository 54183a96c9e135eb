package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"anymx/edge/mail"
)

// setParts gives env a front and cuts of a body, both at random.
func setParts(rng *rand.Rand, env *mail.Envelope, body []byte) {
	for range rng.IntN(4) {
		env.Front, _ = mail.AppendField(env.Front, "X-Random: "+strings.Repeat("x", rng.IntN(500)))
	}
	end := int64(len(body))
	switch rng.IntN(6) {
	case 0: // all of it
		if end > 0 {
			env.Cuts = []mail.Span{{Start: 0, End: end}}
		}
	case 1: // byte after byte, adjacent
		for i := range min(end, 20) {
			env.Cuts = append(env.Cuts, mail.Span{Start: i, End: i + 1})
		}
	case 2: // start and end
		if end > 8 {
			env.Cuts = []mail.Span{{Start: 0, End: 3}, {Start: end - 2, End: end}}
		}
	case 3, 4:
		for at := int64(0); at < end && len(env.Cuts) < mail.MaxCuts; {
			start := at + rng.Int64N(end/5+2)
			at = start + 1 + rng.Int64N(end/20+2)
			if at <= end {
				env.Cuts = append(env.Cuts, mail.Span{Start: start, End: at})
			}
		}
	}
}

// deliveredOf is front + body - cuts, byte by byte.
func deliveredOf(env *mail.Envelope, body []byte) []byte {
	out := slices.Clone(env.Front)
	for i, c := range body {
		if !slices.ContainsFunc(env.Cuts, func(s mail.Span) bool { return s.Start <= int64(i) && int64(i) < s.End }) {
			out = append(out, c)
		}
	}
	return out
}

// storeWith commits a message with an envelope of its own.
func storeWith(t testing.TB, s *Spool, env *mail.Envelope, body []byte) *Message {
	t.Helper()
	d, err := s.BeginDraft()
	if err == nil {
		err = writePieces(d, body)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.Commit(env)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// plainWriter hides ReadFrom.
type plainWriter struct{ io.Writer }

// waysToRead are all ways to read a message.
var waysToRead = map[string]func(*Body) ([]byte, error){
	"read":  func(b *Body) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{b}) },
	"bytes": func(b *Body) ([]byte, error) { return io.ReadAll(iotest.OneByteReader(b)) },
	"write": func(b *Body) ([]byte, error) {
		var out bytes.Buffer
		_, err := b.WriteTo(plainWriter{&out})
		return out.Bytes(), err
	},
	"copy": func(b *Body) ([]byte, error) {
		var out bytes.Buffer
		n, err := b.WriteTo(&out)
		if err == nil && n != b.Size() {
			err = fmt.Errorf("%d of %d bytes", n, b.Size())
		}
		return out.Bytes(), err
	},
	"half": func(b *Body) ([]byte, error) {
		var out bytes.Buffer
		_, err := io.CopyN(plainWriter{&out}, struct{ io.Reader }{b}, b.Size()/2)
		if err == nil {
			_, err = b.WriteTo(&out)
		}
		return out.Bytes(), err
	},
	"pieces": func(b *Body) ([]byte, error) {
		pieces, ok := b.Pieces([][]byte{[]byte("x")})
		if !ok {
			return io.ReadAll(b)
		}
		return bytes.TrimPrefix(bytes.Join(pieces, nil), []byte("x")), nil
	},
}

// checkRead reads a message in every way.
func checkRead(t testing.TB, m *Message, want []byte) {
	t.Helper()
	if m.Envelope.Size != int64(len(want)) {
		t.Errorf("envelope says %d bytes, want %d", m.Envelope.Size, len(want))
	}
	for name, read := range waysToRead {
		b, err := m.Body()
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(b)
		if err = errors.Join(err, b.Close()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d of %d bytes, front %d, cuts %v, %v", name, len(got), len(want), len(m.Envelope.Front), m.Envelope.Cuts, err)
		}
		if _, err := b.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: read after Close", name)
		}
	}
}

// A message is read as front + body - cuts in every way, from memory, engine and file, before and
// after a restart, and by an export.
func TestParts(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		rng := rand.New(rand.NewPCG(3, 1))
		want := map[mail.ID][]byte{}
		envelopes := map[mail.ID]*mail.Envelope{}
		var bodies int64
		for i := range 60 {
			body := randomOf(rng, []int{0, 1, 9, 300, 4000, 9000}[i%6])
			env := message()
			setParts(rng, env, body)
			m := storeWith(t, s, env, body)
			want[env.ID], envelopes[env.ID] = deliveredOf(env, body), env
			bodies += int64(len(body))
			checkRead(t, m, want[env.ID])
			m.Release()
			checkRead(t, m, want[env.ID])
		}
		if got := s.Stats().Bytes; got != bodies {
			t.Errorf("%d bytes are counted, want those of the bodies: %d", got, bodies)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, o)
		for _, e := range entries(t, s) {
			m, err := s.Load(e.ID)
			if err != nil {
				t.Fatal(err)
			}
			checkRead(t, m, want[e.ID])
			if env := envelopes[e.ID]; !slices.Equal(m.Envelope.Cuts, env.Cuts) || !bytes.Equal(m.Envelope.Front, env.Front) {
				t.Errorf("%+v became %+v", env, m.Envelope)
			}
			if e.Size != int64(len(want[e.ID])) {
				t.Errorf("entry of %d bytes, want %d", e.Size, len(want[e.ID]))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		sum, err := exportFrom(s.fs, o.Dir, to, nil)
		if err != nil || sum.Messages != int64(len(want)) || sum.Damaged != 0 || sum.Bytes != bodies {
			t.Errorf("export: %+v, %v", sum, err)
		}
		for id, text := range want {
			if got, err := os.ReadFile(filepath.Join(to, id.String()+".eml")); err != nil || !bytes.Equal(got, text) {
				t.Errorf("export of %s: %d of %d bytes, %v", id, len(got), len(text), err)
			}
			var m Salvaged
			b, err := os.ReadFile(filepath.Join(to, id.String()+".json"))
			if err == nil {
				err = json.Unmarshal(b, &m)
			}
			if err != nil || !bytes.Equal(m.Envelope.Front, envelopes[id].Front) || !slices.Equal(m.Envelope.Cuts, envelopes[id].Cuts) {
				t.Errorf("export of %s: %s, %v", id, b, err)
			}
		}
	})
}

// A body that is not the one that the envelope describes is exported as it is.
func TestExportOfOtherBody(t *testing.T) {
	o := testOptions(memory())
	s := openTest(t, o)
	env := message()
	env.Front, env.Cuts = []byte("A: b\r\n"), []mail.Span{{Start: 5000, End: 9000}}
	storeWith(t, s, env, bytes.Repeat([]byte("x"), 9000))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := s.fs.Create(s.bodies.path(env.ID), "body")
	if err == nil {
		_, err = f.Write([]byte("short"))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	sum, err := exportFrom(s.fs, o.Dir, to, nil)
	if err != nil || sum.Damaged != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	if got, err := os.ReadFile(filepath.Join(to, env.ID.String()+".eml")); string(got) != "short" {
		t.Errorf("%q, %v", got, err)
	}
}

// An envelope that doesn't fit its body is not committed, and nothing is left of it.
func TestCommitChecksParts(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	for _, env := range []*mail.Envelope{
		{Front: []byte("no field\r\n")},
		{Cuts: []mail.Span{{Start: 0, End: 100_001}}},
		{Tags: []string{"two words"}},
	} {
		d, err := s.BeginDraft()
		if err == nil {
			_, err = d.Write(make([]byte, 100_000))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Commit(env); err == nil {
			t.Errorf("%+v was committed", env)
		}
	}
	if st := s.Stats(); st.Messages != 0 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
	if ids, others, err := s.bodies.list(); len(ids)+len(others) > 0 || err != nil {
		t.Errorf("files %v %v, %v", ids, others, err)
	}
}

// Damaged records of parts are errors.
func TestPartsRecordErrors(t *testing.T) {
	of := func(fields []byte) []byte {
		b := appendEnvelope(nil, &mail.Envelope{Recipients: []mail.Recipient{}, Size: 100}, header{})
		return append(b, fields...)
	}
	cuts := func(numbers ...uint64) []byte {
		var v []byte
		for _, n := range numbers {
			v = binary.AppendUvarint(v, n)
		}
		return of(append(appendGroup(nil, tagCuts, len(v)), v...))
	}
	huge := binary.AppendUvarint(nil, 1<<63)
	delivered := appendEnvelope(nil, &mail.Envelope{Recipients: []mail.Recipient{}, Size: 100, Front: []byte("A: b\r\n")}, header{})
	other := slices.Clone(delivered)
	other[headerSize+2]++
	for name, b := range map[string][]byte{
		"front without end":  of(appendText(nil, tagFront, "A: b")),
		"front too long":     of(appendText(nil, tagFront, strings.Repeat("A: b\r\n", mail.MaxFront/6+1))),
		"front not counted":  of(appendText(nil, tagFront, "A: b\r\n")),
		"another size":       other,
		"cut beyond the end": cuts(99, 2),
		"empty cut":          cuts(4, 0),
		"cut that overflows": cuts(1<<63, 1),
		"cuts that overflow": cuts(1, 1<<63-1, 1<<63-1, 4),
		"half a cut":         cuts(4),
		"too many cuts":      cuts(slices.Repeat([]uint64{0, 1}, mail.MaxCuts+1)...),
		"cut in a number":    of([]byte{tagCuts, 2, 0xff, 0xff}),
		"tag with a space":   of(appendText(nil, tagTag, "a b")),
		"too many tags":      of(bytes.Repeat(appendText(nil, tagTag, "a"), mail.MaxTags+1)),
		"route with a space": of(appendText(nil, tagRoute, "a b")),
		"negative size": append(slices.Clone(of(nil)[:headerSize]),
			append(appendGroup(nil, tagDelivered, len(huge)), huge...)...),
	} {
		if env, _, err := decodeEnvelope(testID, b); !errors.Is(err, errRecord) {
			t.Errorf("%s: %+v, %v", name, env, err)
		}
	}
}

// A record without the newer fields is what this program wrote before it had them, byte by byte.
func TestRecordOfOlderProgram(t *testing.T) {
	old := make([]byte, headerSize)
	old[0] = 1
	old[4] = 1
	old[8] = 77
	old = append(old, tagSender, 6, tagLocal, 1, 'a', tagDomain, 1, 'b', tagRecipient, 3, tagLocal, 1, 'c', tagContent, 1, 1)
	env, h, err := decodeEnvelope(testID, old)
	if err != nil || env.Size != 77 || h.size != 77 || h.delivered != 77 || env.Front != nil || env.Cuts != nil {
		t.Fatalf("%+v, %+v, %v", env, h, err)
	}
	if again := appendEnvelope(nil, env, h); !bytes.Equal(again, old) {
		t.Errorf("written again: %x, want %x", again, old)
	}
}

// What an older program makes of a new record is the client's message, whole.
func TestOlderProgramReadsNewRecord(t *testing.T) {
	env := envelopes()["parts"]
	b := appendEnvelope(nil, env, header{})
	known := slices.Clone(b[:headerSize])
	f := fields{rest: string(b[headerSize:])}
	for f.next() {
		if f.tag <= tagContent {
			known = append(appendGroup(known, f.tag, len(f.value)), f.value...)
		}
	}
	if f.err != nil {
		t.Fatal(f.err)
	}
	got, h, err := decodeEnvelope(testID, known)
	if err != nil || got.Size != env.BodySize() || h.size != got.Size {
		t.Errorf("%+v, %+v, %v", got, h, err)
	}
}

// A spool that was written before a message had a front is read as it was.
func TestSpoolOfOlderProgram(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.CopyFS(dir, os.DirFS("testdata/bodies-with-trace")); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Dir: dir})
	if err := s.Attention(); err != nil {
		t.Error(err)
	}
	list := entries(t, s)
	if len(list) != 2 || s.Stats().Bytes != 5795 {
		t.Fatalf("%+v, %d bytes", list, s.Stats().Bytes)
	}
	for i, lines := range []int{1, 200} {
		m, st, err := loadOnly(s, list[i].ID)
		if err != nil || st.Attempts != 1+i || m.header.inFile != (i == 1) || m.Envelope.Front != nil {
			t.Fatalf("%+v, %+v, %v", m, st, err)
		}
		body, err := bodyOf(m)
		trace, whole := bytes.CutSuffix(body, []byte("Subject: old\r\n\r\n"+strings.Repeat(".a line of an old message\r\n", lines)))
		if err != nil || !whole || !bytes.HasPrefix(trace, []byte("Received: from client.example.org ")) {
			t.Errorf("%q, %v", body, err)
		}
		if list[i].Size != int64(len(body)) {
			t.Errorf("%d bytes, want %d", list[i].Size, len(body))
		}
		checkRead(t, m, body)
	}
}

// FuzzParts compares every way to read a message with front + body - cuts.
func FuzzParts(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\nhello\r\n"), []byte{0, 3, 2, 9}, uint16(20), false)
	f.Add([]byte{}, []byte{}, uint16(0), true)
	f.Add(bytes.Repeat([]byte("a\r\n"), 3000), []byte{0, 255, 0, 255, 200, 1}, uint16(1000), true)
	s, err := Open(testOptions(memory()))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, body, cuts []byte, front uint16, file bool) {
		if file && len(body) > 0 { // longer than InlineMax
			body = bytes.Repeat(body, 5000/len(body)+1)
		}
		env := message()
		if front > 0 {
			env.Front, _ = mail.AppendField(nil, "X: "+strings.Repeat("x", int(front)%900))
		}
		at := int64(0)
		for i := 0; i+1 < len(cuts) && len(env.Cuts) < mail.MaxCuts; i += 2 {
			start, end := at+int64(cuts[i]), at+int64(cuts[i])+int64(cuts[i+1])
			if start == end || end > int64(len(body)) {
				break
			}
			env.Cuts = append(env.Cuts, mail.Span{Start: start, End: end})
			at = end
		}
		m := storeWith(t, s, env, body)
		defer m.Release()
		checkRead(t, m, deliveredOf(env, body))
		if err := s.Remove(env.ID); err != nil {
			t.Fatal(err)
		}
	})
}

// kernelCopy is a writer that wants files as net.TCPConn does, for sendfile(2).
type kernelCopy struct {
	bytes.Buffer
	files int
}

func (k *kernelCopy) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		_, ok = limited.R.(syscall.Conn)
	}
	if !ok {
		return 0, errors.New("the kernel can't copy this")
	}
	k.files++
	return k.Buffer.ReadFrom(r)
}

// The pieces of a long body between its cuts are left to the kernel to copy.
func TestPiecesGoBySendfile(t *testing.T) {
	o := testOptions(nil)
	o.Dir = t.TempDir() + "/spool"
	s := openTest(t, o)
	env, body := message(), randomOf(rand.New(rand.NewPCG(1, 1)), 1<<20)
	env.Front, env.Cuts = []byte("A: b\r\n"), []mail.Span{{Start: 10, End: 20}, {Start: 20, End: 100}, {Start: 5000, End: 5001}}
	m := storeWith(t, s, env, body)
	b, err := m.Body()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var k kernelCopy
	if n, err := b.WriteTo(&k); err != nil || n != env.Size || k.files != 3 || !bytes.Equal(k.Bytes(), deliveredOf(env, body)) {
		t.Errorf("%d of %d bytes in %d pieces, %v", n, env.Size, k.files, err)
	}
}
