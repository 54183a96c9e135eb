package network

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errPrivilege says what a process lacks that may not change the network.
var errPrivilege = errors.New(`it may not change the network: it lacks CAP_NET_ADMIN, and needs nothing else but CAP_BPF and CAP_PERFMON for a shield. ` +
	`A unit of systemd gives it with AmbientCapabilities=CAP_NET_ADMIN; ` +
	`-plan says without it what would be done`)

// privilege checks that this process may do what it is for.
func privilege() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // 32 capabilities each
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	if data[unix.CAP_NET_ADMIN/32].Effective&(1<<(unix.CAP_NET_ADMIN%32)) == 0 {
		return errPrivilege
	}
	return nil
}
