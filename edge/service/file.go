package service

import (
	"errors"
	"fmt"
	"io"

	"anymx/edge/statefile"
)

// ReadFile reads a regular file of at most `most` bytes. It never blocks on a FIFO without a
// writer.
func ReadFile(path string, most int64) ([]byte, error) {
	f, _, err := statefile.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = errors.New("too large")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}
