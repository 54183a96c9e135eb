package service

import (
	"fmt"
	"net"
	"strings"
	"unicode"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready notifies systemd, if that started us, that the program is up.
func Ready() { notify(daemon.SdNotifyReady) }

// Stopping notifies systemd that the program is about to end.
func Stopping() { notify(daemon.SdNotifyStopping) }

// Status sends systemd the line that `systemctl status` shows. Characters that would end the line,
// and begin another message to systemd, become spaces.
func Status(line string) {
	notify("STATUS=" + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, line))
}

func notify(state string) { _, _ = daemon.SdNotify(false, state) } // without systemd there is nothing to do

// Listeners returns the sockets that systemd opened for us; none if it did not start us.
func Listeners() ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	var listeners []net.Listener
	for _, l := range all {
		if l != nil { // nil if the descriptor is not a listening socket
			listeners = append(listeners, l)
		}
	}
	return listeners, nil
}
