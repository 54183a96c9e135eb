package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// newestImage returns the newest image of the appliance in a directory, "" if there is none. Images of
// the debug profile don't count, because they don't ship.
func newestImage(dir string) string {
	all, err := filepath.Glob(filepath.Join(dir, "anymx_*.raw"))
	if err != nil {
		return ""
	}
	newest, at := "", int64(0)
	for _, name := range all {
		info, err := os.Lstat(name)
		if err != nil || !info.Mode().IsRegular() || strings.Contains(filepath.Base(name), "_debug") {
			continue
		}
		if t := info.ModTime().UnixNano(); newest == "" || t > at {
			newest, at = name, t
		}
	}
	return newest
}

// build runs a script and returns the last line that it prints.
func build(ctx context.Context, script string) (string, error) {
	cmd := exec.CommandContext(ctx, script)
	out, err := cmd.Output()
	if err != nil {
		said := string(out)
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			said += string(exit.Stderr)
		}
		return "", fmt.Errorf("%s: %w:\n%s", script, err, said)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], nil
}

// imageSizes returns the sizes of an image and the files built with it, in bytes: "raw" is what the
// file occupies, "zst" compressed; "update", "root" and "uki" are there if the files are.
func imageSizes(ctx context.Context, raw string) (sample, error) {
	info, err := os.Stat(raw)
	if err != nil {
		return nil, err
	}
	sizes := sample{"raw": float64(info.Size())}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		sizes["raw"] = float64(stat.Blocks * 512) // without its holes
	}
	if sizes["zst"], err = compressedSize(ctx, raw, info); err != nil {
		return nil, err
	}
	stem := strings.TrimSuffix(raw, ".raw")
	if uki, err := os.Stat(stem + ".efi"); err == nil {
		sizes["uki"] = float64(uki.Size())
	}
	bundle, err := os.Open(stem + "_amd64.update")
	if errors.Is(err, fs.ErrNotExist) {
		return sizes, nil
	}
	if err != nil {
		return nil, err
	}
	defer bundle.Close()
	parts, err := bundleSizes(bundle)
	for name, size := range parts {
		sizes[name] = size
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", bundle.Name(), err)
	}
	if info, err = bundle.Stat(); err != nil {
		return nil, err
	}
	sizes["update"] = float64(info.Size())
	return sizes, nil
}

// bundleSizes returns the sizes of an update's parts, "root" and "uki", in bytes.
func bundleSizes(r io.Reader) (sample, error) {
	sizes, all := sample{}, tar.NewReader(r)
	for {
		h, err := all.Next()
		switch {
		case errors.Is(err, io.EOF):
			return sizes, nil
		case err != nil:
			return sizes, err
		case strings.HasSuffix(h.Name, ".root.raw"):
			sizes["root"] = float64(h.Size)
		case strings.HasSuffix(h.Name, ".efi"):
			sizes["uki"] = float64(h.Size)
		}
	}
}

// compressedSize returns the size of the image's .zst, or what zstd makes of the image with the flags
// of image/build if there is none.
func compressedSize(ctx context.Context, raw string, info fs.FileInfo) (float64, error) {
	if zst, err := os.Stat(raw + ".zst"); err == nil && !zst.ModTime().Before(info.ModTime()) {
		return float64(zst.Size()), nil
	}
	cmd := exec.CommandContext(ctx, "zstd", "-q", "-T0", "-15", "--long=27", "-c", raw)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("zstd: %w", err)
	}
	n, err := io.Copy(io.Discard, out)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return 0, fmt.Errorf("zstd of %s: %w", raw, err)
	}
	return float64(n), nil
}
