package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"anymx/edge/config"
)

// socketFile is a systemd drop-in for the sockets of ingress.
const socketFile = "/run/systemd/system/anymx-edge.socket.d/listen.conf"

// standardListen are the default addresses of anymx-edge.socket.
var standardListen = config.Default().Ingress.Listen

// socketText is the drop-in with which systemd opens other addresses; "" if the unit's own are
// right.
func socketText(cfg *config.Config) string {
	if slices.Equal(cfg.Ingress.Listen, standardListen) {
		return ""
	}
	var b strings.Builder
	b.WriteString("# ingress.listen of the node's config\n[Socket]\nListenStream=\n")
	for _, address := range cfg.Ingress.Listen {
		if strings.HasPrefix(address, ":") {
			address = "[::]" + address
		}
		fmt.Fprintf(&b, "ListenStream=%s\n", address)
	}
	// An address of the node may appear later than the socket.
	b.WriteString("FreeBind=yes\n")
	return b.String()
}

// socket writes or removes the drop-in, and reports whether systemd has to read its units again.
// The sockets themselves change at the next boot, or when they are restarted.
func (o Options) socket(cfg *config.Config) (changed bool, err error) {
	file, want := o.path(socketFile), []byte(socketText(cfg))
	have, err := os.ReadFile(file)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, err
	case bytes.Equal(have, want):
		return false, nil
	case len(want) == 0:
		return true, os.Remove(file)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return false, err
	}
	beside := filepath.Join(filepath.Dir(file), unseen(filepath.Base(file)))
	if err := os.WriteFile(beside, want, 0o644); err != nil {
		return false, err
	}
	return true, os.Rename(beside, file)
}
