package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// firmware is a packaged UEFI firmware: the code, which is read-only, and the initial variables.
type firmware struct{ code, vars string }

// firmwares are the paths of OVMF without Secure Boot in Debian, Fedora and Arch.
var firmwares = []firmware{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
}

// ErrFirmware is wrapped if this machine has no UEFI firmware.
var ErrFirmware = errors.New("no UEFI firmware for QEMU (package ovmf)")

func findFirmware() (firmware, error) {
	for _, f := range firmwares {
		if _, err := os.Stat(f.code); err != nil {
			continue
		}
		if _, err := os.Stat(f.vars); err == nil {
			return f, nil
		}
	}
	return firmware{}, ErrFirmware
}

// copyFile copies a small file to a new one.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy of %s: %w", from, err)
	}
	return nil
}
