package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// sums writes the checksum and base name of each file.
func sums(w io.Writer, files []string) error {
	for _, file := range files {
		sum, _, err := sumOf(file, -1)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s  %s\n", sum, filepath.Base(file)); err != nil {
			return err
		}
	}
	return nil
}

// sumOf returns the SHA-256 sum of the first bytes of a file, and their number; a negative limit
// means the whole file.
func sumOf(file string, limit int64) (sum string, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	var r io.Reader = f
	if limit >= 0 {
		r = io.LimitReader(f, limit)
	}
	h := sha256.New()
	size, err = io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), size, err
}
