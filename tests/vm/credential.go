package vm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Tree packs files, by name, into a compressed tar, the format of the credential anymx.tree. The
// same files give the same bytes.
func Tree(files map[string]string) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name]))}); err != nil {
			return nil, fmt.Errorf("tar of %s: %w", name, err)
		}
		if _, err := t.Write([]byte(files[name])); err != nil {
			return nil, fmt.Errorf("tar of %s: %w", name, err)
		}
	}
	err := errors.Join(t.Close(), z.Close())
	return b.Bytes(), err
}

// credential returns a string of SMBIOS type 11 as systemd reads it
// (systemd.system-credentials(7)).
func credential(name string, value []byte) []byte {
	return []byte("io.systemd.credential.binary:" + name + "=" + base64.StdEncoding.EncodeToString(value))
}

func sortedKeys(m map[string][]byte) []string { return slices.Sorted(maps.Keys(m)) }
