package bundle

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"time"
)

// Write writes a bundle: the manifest as it was signed, its armored signature, and the files in
// order, opened by open. The same input gives the same bytes.
func Write(w io.Writer, manifest, armored []byte, open func(File) (io.ReadCloser, error)) error {
	m, err := ParseManifest(manifest)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	add := func(name string, size int64, from io.Reader) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: m.Built.Truncate(time.Second), Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		n, err := io.Copy(t, from)
		if err == nil && n != size {
			err = fmt.Errorf("%s has %d bytes instead of %d as in the manifest", name, n, size)
		}
		return err
	}
	if err := add(manifestName, int64(len(manifest)), bytes.NewReader(manifest)); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if err := add(signatureName, int64(len(armored)), bytes.NewReader(armored)); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	for _, f := range m.Files {
		body, err := open(f)
		if err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		err = add(f.Name, f.Size, body)
		body.Close() // it was only read
		if err != nil {
			return fmt.Errorf("bundle: %s: %w", f.Name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return nil
}
