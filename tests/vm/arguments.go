package vm

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// NIC is the guest's network card. The zero NIC means none.
type NIC struct {
	// Tap is the descriptor of a tap device, opened with IFF_VNET_HDR, which QEMU takes over. -1
	// and 0: none.
	Tap int
	// User enables QEMU's own network, which is isolated. It maps a host address to a guest port,
	// such as "127.0.0.1:2525" to 25. Nil: none.
	User map[string]int
	// Services are what the guest can reach in that network. They map an address and port, such as
	// "10.0.2.100:2525", to a command that QEMU runs for each connection, with the connection as
	// standard input and output.
	Services map[string]string
	// MAC is the card's address; nil: 52:54:00:25:25:01.
	MAC net.HardwareAddr
}

// Direct boots a kernel without firmware.
type Direct struct{ Kernel, Initrd, Append string }

// Options are a machine's options. The zero Options is a machine without a disk.
type Options struct {
	// Dir is the directory for the machine's files: it must exist and be used by this machine only.
	Dir string
	// Disk is what it boots from.
	Disk Disk
	// Sticks are plugged into its USB sockets.
	Sticks []Disk
	// Memory in MiB; 0 means 1024.
	Memory int
	// CPUs; 0 means 2.
	CPUs int
	// Accel is KVM or TCG; "" means the result of Accelerator.
	Accel Accel
	NIC   NIC
	// Credentials are systemd credentials, which the guest's systemd finds in SMBIOS.
	Credentials map[string][]byte
	// Watchdog adds an i6300esb, which resets the machine.
	Watchdog bool
	// Balloon adds a virtio-balloon, through which the guest reports its memory use: see
	// Machine.Memory.
	Balloon bool
	// Vars is a file with initial UEFI variables, such as Machine.Vars of an earlier start; it is
	// copied. "": factory defaults.
	Vars string
	// Direct boots a kernel without firmware and its variables. Nil: firmware.
	Direct *Direct
	// Enter starts QEMU in another environment, such as a network namespace. It must call its
	// argument on the thread that is inside. Nil: QEMU starts directly.
	Enter func(func() error) error
	// QEMU is the program; "" means qemu-system-x86_64.
	QEMU string
	// Markers are console lines that Boot reports.
	Markers []Marker
}

func (o Options) qemu() string { return cmp.Or(o.QEMU, "qemu-system-x86_64") }

// machineUUID is in the firmware, as on a server. The guest's systemd derives its machine ID from
// it, so that it finds its journal at the next boot.
const machineUUID = "6f2d9a51-4a5c-4c0e-9a53-0d5e25250001"

// hardware returns the arguments that define what the guest sees. They and their order must be the
// same for a resumed machine. Credentials only matter at boot.
func (o Options) hardware() []string {
	cpu := map[Accel]string{KVM: "host", TCG: "max"}[o.Accel]
	args := []string{
		"-nodefaults", "-no-user-config", "-machine", "q35,smbios-entry-point-type=64", "-uuid", machineUUID, "-accel", accelArgument(o.Accel), "-cpu", cpu,
		"-smp", fmt.Sprint(cmp.Or(o.CPUs, 2)), "-m", fmt.Sprint(cmp.Or(o.Memory, 1024)),
		"-display", "none", "-vga", "none", "-rtc", "base=utc",
		"-device", "virtio-rng-pci",
	}
	if o.Disk != (Disk{}) {
		args = append(args, "-device", "virtio-blk-pci,drive=disk,write-cache=on,bootindex=1,serial=anymx")
	}
	if o.NIC.there() {
		mac := o.NIC.MAC
		if mac == nil {
			mac = net.HardwareAddr{0x52, 0x54, 0, 0x25, 0x25, 1}
		}
		args = append(args, "-device", "virtio-net-pci,netdev=net,romfile=,mac="+mac.String())
	}
	args = append(args, "-device", "qemu-xhci,id=usb")
	for i := range o.Sticks {
		args = append(args, "-device", fmt.Sprintf("usb-storage,bus=usb.0,drive=stick%d,removable=on", i))
	}
	if o.Watchdog {
		args = append(args, "-device", "i6300esb", "-action", "watchdog=reset")
	}
	if o.Balloon { // last, so that the names of other devices don't change
		args = append(args, "-device", "virtio-balloon-pci,id="+balloon)
	}
	return args
}

// backends returns the arguments of the hardware's backends. The descriptors of serial console,
// monitor and tap are 3, 4 and 5: see Start.
func (o Options) backends(f firmware, vars string, credentials []string) []string {
	args := []string{
		"-chardev", "socket,id=serial0,fd=3", "-serial", "chardev:serial0",
		"-chardev", "socket,id=monitor,fd=4", "-mon", "chardev=monitor,mode=control",
	}
	if d := o.Direct; d != nil {
		args = append(args, "-kernel", d.Kernel, "-append", d.Append)
		if d.Initrd != "" {
			args = append(args, "-initrd", d.Initrd)
		}
	} else {
		args = append(args, "-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+comma(f.code),
			"-drive", "if=pflash,format=raw,unit=1,file="+comma(vars))
	}
	if o.Disk != (Disk{}) {
		args = append(args, "-drive", o.Disk.drive("disk"))
	}
	for i, s := range o.Sticks {
		args = append(args, "-drive", s.drive(fmt.Sprintf("stick%d", i)))
	}
	switch {
	case o.NIC.Tap > 0:
		args = append(args, "-netdev", "tap,id=net,fd=5,vhost=off")
	case o.NIC.User != nil:
		net := "user,id=net,restrict=on"
		for _, host := range slices.Sorted(maps.Keys(o.NIC.User)) {
			net += fmt.Sprintf(",hostfwd=tcp:%s-:%d", host, o.NIC.User[host])
		}
		for _, address := range slices.Sorted(maps.Keys(o.NIC.Services)) {
			net += fmt.Sprintf(",guestfwd=tcp:%s-cmd:%s", address, comma(o.NIC.Services[address]))
		}
		args = append(args, "-netdev", net)
	}
	for _, file := range credentials {
		args = append(args, "-smbios", "type=11,path="+comma(file))
	}
	return args
}

func (n NIC) there() bool { return n.Tap > 0 || n.User != nil }

// kind returns what the card's features depend on.
func (n NIC) kind() string {
	switch {
	case n.Tap > 0:
		return "tap"
	case n.User != nil:
		return "user"
	}
	return "none"
}

// likeness is equal for two machines if one can resume the other's saved state.
func (o Options) likeness(version string) string {
	firmware := "UEFI"
	if o.Direct != nil {
		firmware = "none"
	}
	return strings.Join(append(o.hardware(), "network", o.NIC.kind(), "firmware", firmware, "version", version), " ")
}
