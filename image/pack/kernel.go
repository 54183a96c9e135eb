package main

import (
	"debug/pe"
	"errors"
	"fmt"
	"strings"
)

// kernel is what a unified kernel image says about itself.
type kernel struct {
	version  string // of the image that it boots
	rootHash string
}

// readKernel reads the sections of a unified kernel image (UAPI.5).
func readKernel(file string) (kernel, error) {
	f, err := pe.Open(file)
	if err != nil {
		return kernel{}, err
	}
	defer f.Close()
	section := func(name string) (string, error) {
		s := f.Section(name)
		if s == nil {
			return "", fmt.Errorf("it has no section %s: it is not a unified kernel image", name)
		}
		b, err := s.Data()
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(b[:min(len(b), int(s.VirtualSize))]), "\x00"), nil
	}
	osRelease, err1 := section(".osrel")
	cmdline, err2 := section(".cmdline")
	if err := errors.Join(err1, err2); err != nil {
		return kernel{}, err
	}
	var k kernel
	for line := range strings.Lines(osRelease) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "IMAGE_VERSION="); ok {
			k.version = strings.Trim(v, `"'`)
		}
	}
	for word := range strings.FieldsSeq(cmdline) {
		if v, ok := strings.CutPrefix(word, "roothash="); ok {
			k.rootHash = v
		}
	}
	if k.version == "" || k.rootHash == "" {
		return k, errors.New("it names no version (IMAGE_VERSION) or no root hash (roothash=)")
	}
	return k, nil
}
