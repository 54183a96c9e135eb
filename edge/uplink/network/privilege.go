package network

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errPrivilege names the missing capabilities.
var errPrivilege = errors.New(`not permitted to change the network: CAP_NET_ADMIN is missing; a shield requires CAP_BPF and CAP_PERFMON as well.  ` +
	`A unit of systemd gives it with AmbientCapabilities=CAP_NET_ADMIN; ` +
	`-plan says without it what would be done`)

// privilege checks that this process has the capabilities that it needs.
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
