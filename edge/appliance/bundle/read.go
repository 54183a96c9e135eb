package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Reader reads a bundle whose signature was good. It is not safe for concurrent use.
type Reader struct {
	Manifest *Manifest
	Key      Key // that signed it

	r     io.Reader
	next  int       // of Manifest.Files
	file  *fileBody // the last one returned, or nil
	ended bool
}

// Open reads the beginning of a bundle and verifies its signature. Errors wrap ErrUntrusted or
// ErrDamaged, or come from r.
func Open(r io.Reader, keys Keys) (*Reader, error) {
	text, err := small(r, manifestName, MaxManifest)
	if err != nil {
		return nil, err
	}
	armored, err := small(r, signatureName, maxSignature)
	if err != nil {
		return nil, err
	}
	key, err := keys.Verify(Namespace, text, armored)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, err
	}
	return &Reader{Manifest: m, Key: key, r: r}, nil
}

// small reads a file, which must be the next one and small.
func small(r io.Reader, name string, most int64) ([]byte, error) {
	got, err := header(r)
	switch {
	case err != nil:
		return nil, err
	case got == nil || got.name != name:
		return nil, fmt.Errorf("%w: this is not an anymx update: its file %s is missing", ErrDamaged, name)
	case got.size == 0 || got.size > most:
		return nil, fmt.Errorf("%w: its %s has %d bytes; it must have 1 to %d", ErrDamaged, name, got.size, most)
	}
	text := make([]byte, got.size)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, cut(err)
	}
	if err := readZeros(r, padding(got.size)); err != nil {
		return nil, cut(err)
	}
	return text, nil
}

// header reads the header of the next file; nil at the end.
func header(r io.Reader) (*member, error) {
	b := make([]byte, block)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, cut(err)
	}
	m, err := parseHeader(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// cut returns err, or ErrDamaged if a bundle ended too early.
func cut(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is truncated", ErrDamaged)
	}
	return err
}

// Next returns the next file. Its content is only verified once its reader has returned io.EOF.
// Next first reads what is left of the previous file. At the end it returns io.EOF: the bundle was
// complete.
func (b *Reader) Next() (File, io.Reader, error) {
	if b.ended {
		return File{}, nil, io.EOF
	}
	if b.file != nil {
		if _, err := io.Copy(io.Discard, b.file); err != nil {
			return File{}, nil, err
		}
		if err := readZeros(b.r, padding(b.file.want.Size)); err != nil {
			return File{}, nil, fmt.Errorf("%w: behind %s: %w", ErrDamaged, b.file.want.Name, cut(err))
		}
		b.file = nil
	}
	if b.next == len(b.Manifest.Files) {
		if err := b.end(); err != nil {
			return File{}, nil, err
		}
		b.ended = true
		return File{}, nil, io.EOF
	}
	want := b.Manifest.Files[b.next]
	got, err := header(b.r)
	if err != nil {
		return File{}, nil, err
	}
	if got == nil || got.name != want.Name || got.size != want.Size {
		return File{}, nil, fmt.Errorf("%w: expected %s with %d bytes, found %s", ErrDamaged, want.Name, want.Size, got)
	}
	b.next++
	b.file = &fileBody{r: b.r, want: want, left: want.Size, sum: sha256.New()}
	return want, b.file, nil
}

func (m *member) String() string {
	if m == nil {
		return "the end"
	}
	return fmt.Sprintf("%s with %d", m.name, m.size)
}

// end reads to the end of the stream, which may only contain zeros.
func (b *Reader) end() error {
	if err := readZeros(b.r, 2*block); err != nil {
		return fmt.Errorf("%w: at its end: %w", ErrDamaged, cut(err))
	}
	rest, err := io.ReadAll(io.LimitReader(b.r, maxTrailer+1))
	if err != nil {
		return err
	}
	if !isZero(rest) || len(rest) > maxTrailer {
		return fmt.Errorf("%w: data follows its end", ErrDamaged)
	}
	return nil
}

// fileBody is the content of one file.
type fileBody struct {
	r    io.Reader
	want File
	left int64
	sum  hash.Hash
	err  error // permanent
}

func (f *fileBody) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	if f.left == 0 {
		f.err = io.EOF
		if got := hex.EncodeToString(f.sum.Sum(nil)); got != f.want.SHA256 {
			f.err = fmt.Errorf("%w: %s has the SHA-256 sum %s instead of %s as in the manifest", ErrDamaged, f.want.Name, got, f.want.SHA256)
		}
		return 0, f.err
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
	f.sum.Write(p[:n])
	f.left -= int64(n)
	if err == io.EOF && f.left > 0 {
		f.err = cut(io.ErrUnexpectedEOF)
		return n, f.err
	}
	if err == io.EOF {
		err = nil
	}
	if err != nil {
		f.err = err
	}
	return n, err
}
