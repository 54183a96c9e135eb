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

// Tree packs files, by their names, into a compressed tar: what the credential
// anymx.tree is. The same files give the same octets.
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

// credential is a string of SMBIOS type 11 as systemd reads it (systemd.system-credentials(7)).
func credential(name string, value []byte) []byte {
	return []byte("io.systemd.credential.binary:" + name + "=" + base64.StdEncoding.EncodeToString(value))
}

func sortedKeys(m map[string][]byte) []string { return slices.Sorted(maps.Keys(m)) }
