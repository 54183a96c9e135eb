package provision

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// mount opens the file system read-only, nosuid, nodev and noexec. It is not attached to the file
// hierarchy: only its descriptor refers to it, so it is unmounted when that is closed, even by a
// crash.
func (v volume) mount(root string) (*directory, error) {
	fsType, ok := types[v.fsType]
	if !ok {
		return nil, fmt.Errorf("%s has a file system of type %q; use vfat, ext4, iso9660 or erofs", v.device, v.fsType)
	}
	context, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %s: %w", v.device, fsType, err)
	}
	defer unix.Close(context)
	if err := configure(context, fsType, root+v.device); err != nil {
		return nil, fmt.Errorf("mount %s as %s: %w%s", v.device, fsType, err, said(context))
	}
	const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	fd, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return nil, fmt.Errorf("mount %s as %s: %w", v.device, fsType, err)
	}
	return &directory{fd}, nil
}

func configure(context int, fsType, device string) error {
	err := unix.FsconfigSetString(context, "source", device)
	if err == nil {
		err = unix.FsconfigSetFlag(context, "ro")
	}
	if err == nil && fsType == "ext4" { // otherwise reading would write, to replay the journal
		err = unix.FsconfigSetFlag(context, "noload")
	}
	if err == nil {
		err = unix.FsconfigCreate(context)
	}
	return err
}

// said returns the kernel's message about a failed mount.
func said(context int) string {
	var b [512]byte
	var lines []string
	for range 4 {
		n, err := unix.Read(context, b[:])
		if err != nil || n == 0 {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			break
		}
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(string(b[:n]), "e ")))
	}
	if len(lines) == 0 {
		return ""
	}
	return " (" + strings.Join(lines, "; ") + ")"
}
