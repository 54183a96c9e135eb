// Package vm boots a disk image in QEMU, as a server boots it: by UEFI firmware,
// with a serial console, and its power can be cut.
//
// What happens to the data:
//
//  1. Overlay and package lossy make disks that take what a guest writes: the
//     image itself never changes (disk.go).
//  2. Accelerator tries once whether KVM really runs a guest here, and takes
//     QEMU's own translator if not (accelerator.go).
//  3. Start turns Options into QEMU's arguments (arguments.go), starts QEMU, and
//     talks with it over its monitor (machine.go, monitor.go). Consoles and
//     monitors are socket pairs, so nothing of them lies in the file system.
//  4. Console keeps every line of the serial console with the time since power-on,
//     waits for lines, and types (console.go). Boot tells from them how long each
//     part of the boot took (boot.go).
//  5. Save writes a running machine to files, memory and disk, and ends it; Resume
//     starts from there, as often as wanted (state.go).
//
// Package rack joins machine, lossy disk and lab; up is what a person plays with. All
// waits have an end. QEMU dies with the process that has started it.
package vm
