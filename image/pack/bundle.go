package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"anymx/edge/appliance/bundle"
)

// bundleInput has the parts of a bundle.
type bundleInput struct {
	root, verity, kernel string // files
	key                  string
}

// write creates the bundle and reads it back as a machine would.
func (in *bundleInput) write(version string, built time.Time, output string) error {
	k, err := readKernel(in.kernel)
	if err != nil {
		return fmt.Errorf("%s: %w", in.kernel, err)
	}
	if k.version != version {
		return fmt.Errorf("%s: it is of version %q, and not of %q", in.kernel, k.version, version)
	}
	m := bundle.NewManifest(version, k.rootHash, built)
	files := map[bundle.Role]string{bundle.Verity: in.verity, bundle.Root: in.root, bundle.Kernel: in.kernel}
	for _, role := range []bundle.Role{bundle.Verity, bundle.Root, bundle.Kernel} {
		f, err := describe(version, role, files[role])
		if err != nil {
			return err
		}
		m.Files = append(m.Files, f)
	}
	manifest, err := m.Encode()
	if err != nil {
		return err
	}
	signature, public, err := sign(in.key, manifest)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	out, err := os.Create(output)
	if err != nil {
		return err
	}
	err = bundle.Write(out, manifest, signature, func(f bundle.File) (io.ReadCloser, error) {
		file, err := os.Open(files[f.Role])
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(file, f.Size), file}, nil
	})
	if err = errors.Join(err, out.Close()); err == nil {
		err = check(output, public)
	}
	if err != nil {
		return errors.Join(err, os.Remove(output))
	}
	return nil
}

// describe measures a file. Trailing zeros are not included.
func describe(version string, role bundle.Role, file string) (bundle.File, error) {
	f := bundle.File{Name: bundle.FileName(version, role), Role: role}
	full, size, err := measure(file)
	if err != nil {
		return f, err
	}
	if role == bundle.Kernel {
		size = full // it is a regular file, not an existing partition
	}
	f.Zeros = full - size
	f.SHA256, f.Size, err = sumOf(file, size)
	return f, err
}

// zeroBlock is the unit in which trailing zeros of a file are counted.
const zeroBlock = 4096

// measure returns the size of a file in bytes, with and without trailing zeros.
func measure(file string) (full, without int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	if full, err = f.Seek(0, io.SeekEnd); err != nil {
		return 0, 0, err
	}
	b := make([]byte, 1<<20)
	for end := full; end > 0; {
		start := max(0, (end-1)/int64(len(b))*int64(len(b)))
		part := b[:end-start]
		if _, err := f.ReadAt(part, start); err != nil {
			return 0, 0, err
		}
		if n := int64(len(bytes.TrimRight(part, "\x00"))); n > 0 {
			return full, min(full, (start+n+zeroBlock-1)/zeroBlock*zeroBlock), nil
		}
		end = start
	}
	return 0, 0, fmt.Errorf("%s: nothing but zeros is in it", file)
}

// sign signs the manifest with ssh-keygen and also returns the public key.
func sign(key string, manifest []byte) (signature, public []byte, err error) {
	dir, err := os.MkdirTemp("", "anymx-pack-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	if key == "agent" {
		if key, err = firstOfAgent(dir); err != nil {
			return nil, nil, err
		}
	}
	file := filepath.Join(dir, "manifest.json")
	if err := os.WriteFile(file, manifest, 0o600); err != nil {
		return nil, nil, err
	}
	cmd := exec.Command("ssh-keygen", "-q", "-Y", "sign", "-n", bundle.Namespace, "-f", key, file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr // it may ask for a passphrase or a touch
	if err := cmd.Run(); err != nil {
		return nil, nil, fmt.Errorf("ssh-keygen: %w", err)
	}
	if signature, err = os.ReadFile(file + ".sig"); err != nil {
		return nil, nil, err
	}
	public, err = os.ReadFile(strings.TrimSuffix(key, ".pub") + ".pub")
	return signature, public, err
}

// firstOfAgent writes the agent's first public key to a file.
func firstOfAgent(dir string) (string, error) {
	list, err := exec.Command("ssh-add", "-L").Output()
	if err != nil {
		return "", fmt.Errorf("no agent, or no key in it: ssh-add -L: %w", err)
	}
	first, _, _ := bytes.Cut(list, []byte("\n"))
	file := filepath.Join(dir, "key.pub")
	return file, os.WriteFile(file, append(first, '\n'), 0o600)
}

// check reads a bundle as a machine that trusts the key would.
func check(file string, public []byte) error {
	keys, err := bundle.ParseKeys(public)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := bundle.Open(f, keys)
	for err == nil {
		_, _, err = r.Next()
	}
	if err == io.EOF {
		return nil
	}
	return fmt.Errorf("the bundle that was made is not good: %w", err)
}
