package vm

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// NIC is the guest's network card. The zero NIC is none.
type NIC struct {
	// Tap is the descriptor of a tap device, opened with IFF_VNET_HDR, which QEMU
	// takes over. -1 and 0: none.
	Tap int
	// User is QEMU's own network, which reaches nobody: from a host's address to a
	// guest's port, such as "127.0.0.1:2525" to 25. Nil: none.
	User map[string]int
	// Services are what the guest can reach in that network: from an address and
	// port, such as "10.0.2.100:2525", to a command that QEMU runs for each
	// connection, which is its standard input and output.
	Services map[string]string
	// MAC is the card's; nil: 52:54:00:25:25:01.
	MAC net.HardwareAddr
}

// Direct boots a kernel without firmware.
type Direct struct{ Kernel, Initrd, Append string }

// Options of a machine. The zero Options is a machine without a disk.
type Options struct {
	// Dir is where the machine puts its files: it must be there, and be its own.
	Dir string
	// Disk is what it boots from.
	Disk Disk
	// Sticks are put into its USB sockets.
	Sticks []Disk
	// Memory in MiB; 0 means 1024.
	Memory int
	// CPUs; 0 means 2.
	CPUs int
	// Accel is KVM or TCG; "" is what Accelerator says.
	Accel Accel
	NIC   NIC
	// Credentials are systemd credentials that the guest's systemd finds in SMBIOS.
	Credentials map[string][]byte
	// Watchdog is an i6300esb, which resets the machine.
	Watchdog bool
	// Balloon is a virtio-balloon, by which the guest tells how much of its memory
	// is in use: see Machine.Memory.
	Balloon bool
	// Vars is a file with UEFI variables to begin with, such as Machine.Vars of an
	// earlier start; it is copied. "": as they come from the factory.
	Vars string
	// Direct boots a kernel, without firmware and its variables. Nil: firmware.
	Direct *Direct
	// Enter runs QEMU's start inside of something, such as a network namespace. It
	// must call its argument on the thread that is inside. Nil: called as it is.
	Enter func(func() error) error
	// QEMU is the program; "" means qemu-system-x86_64.
	QEMU string
	// Markers are lines of the console that Boot reports when they came.
	Markers []Marker
}

func (o Options) qemu() string { return cmp.Or(o.QEMU, "qemu-system-x86_64") }

// machineUUID is in the firmware, as a server has one. The guest's systemd takes it
// for its identity, by which it finds its journal again at the next boot.
const machineUUID = "6f2d9a51-4a5c-4c0e-9a53-0d5e25250001"

// hardware are the arguments that the guest sees, in their order: they must be the
// same for a machine that is resumed. Credentials are seen at boot only.
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
	if o.Balloon { // last: it must not change the names of the other devices
		args = append(args, "-device", "virtio-balloon-pci,id="+balloon)
	}
	return args
}

// backends are the arguments of what is behind the hardware. The descriptors of
// serial console, monitor and tap are 3, 4 and 5: see Start.
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

// kind is what the card's features depend on.
func (n NIC) kind() string {
	switch {
	case n.Tap > 0:
		return "tap"
	case n.User != nil:
		return "user"
	}
	return "none"
}

// likeness is the same for two machines of which one can go on where the other has
// been stopped.
func (o Options) likeness(version string) string {
	firmware := "UEFI"
	if o.Direct != nil {
		firmware = "none"
	}
	return strings.Join(append(o.hardware(), "network", o.NIC.kind(), "firmware", firmware, "version", version), " ")
}
