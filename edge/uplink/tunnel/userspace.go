package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// userspaceDevice is wireguard-go over a TUN, in this process. Sessions end with the process; the
// TUN does not.
type userspaceDevice struct {
	tun    *tunDevice
	device *device.Device
	up     bool
	deaf   bool // no sockets are open, since the port could not be changed
}

// openUserspace attaches to the TUN or makes it. narrow is called when a path turns out to be
// narrower than the packets.
func openUserspace(l links, name string, narrow func(), log *slog.Logger) (*userspaceDevice, error) {
	t, err := openTUN(l, name)
	if err != nil {
		return nil, err
	}
	return &userspaceDevice{tun: t, device: device.NewDevice(t, newBind(narrow), logger(log))}, nil
}

// have returns the device's current state. errGone: the TUN was removed.
func (d *userspaceDevice) have() (*wgtypes.Device, error) {
	select {
	case <-d.device.Wait():
		return nil, errGone
	default:
	}
	text, err := d.device.IpcGet()
	if err != nil {
		return nil, err
	}
	return read(text)
}

// configure applies a plan to the device. A changed port opens sockets in the namespace of the
// calling thread.
func (d *userspaceDevice) configure(c wgtypes.Config) error {
	err := d.device.IpcSet(write(c))
	var refused *device.IPCError
	if errors.As(err, &refused) {
		// The rest of the text is wireguard-go's copy of a line, which may contain a key.
		var cause syscall.Errno
		if c.ListenPort != nil && errors.As(err, &cause) {
			d.deaf = true // the old ones are closed
			return fmt.Errorf("UDP port %d: %w", *c.ListenPort, cause)
		}
		return fmt.Errorf("wireguard-go refused the configuration (%d)", refused.ErrorCode())
	}
	return err
}

// started opens the sockets, in the namespace of the calling thread, once there is a key. It starts
// a handshake with each peer whose endpoint is known: the peer may still have a session with the
// previous process, and would notice only after 15 s of silence.
func (d *userspaceDevice) started() error {
	if d.up && !d.deaf {
		return nil
	}
	have, err := d.have()
	if err != nil {
		return err
	}
	if d.up {
		if err := d.device.BindUpdate(); err != nil {
			return fmt.Errorf("UDP port %d: %w", have.ListenPort, err)
		}
		d.deaf = false
		return nil
	}
	if err := d.device.Up(); err != nil {
		return fmt.Errorf("UDP port %d: %w", have.ListenPort, err)
	}
	d.up = true
	for _, p := range have.Peers {
		if peer := d.device.LookupPeer(device.NoisePublicKey(p.PublicKey)); peer != nil && p.Endpoint != nil {
			_ = peer.SendHandshakeInitiation(false) // its own timers retry
		}
	}
	return nil
}

func (d *userspaceDevice) resized(mtu int) { d.tun.resized(mtu) }

func (d *userspaceDevice) close() error {
	d.device.Close()
	return d.tun.Close() // the device has closed it already, if it ran
}

// logger forwards wireguard-go's lines, none of which contains a key: it names peers by eight
// characters of the public one. All are for debugging: what an operator must know is in Status.
func logger(log *slog.Logger) *device.Logger {
	say := func(format string, args ...any) {
		if log.Enabled(context.Background(), slog.LevelDebug) {
			log.Debug("wireguard-go: " + fmt.Sprintf(format, args...))
		}
	}
	return &device.Logger{Verbosef: say, Errorf: say}
}
