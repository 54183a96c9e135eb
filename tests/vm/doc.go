// Package vm boots a disk image in QEMU as a server boots it: by UEFI firmware and with a serial
// console. Tests can cut its power.
//
// What happens to the data:
//
//  1. Overlay and package lossy create disks for a guest's writes, so that the image itself never
//     changes (disk.go).
//  2. Accelerator tests once whether KVM really runs a guest here, and falls back to QEMU's
//     emulator (accelerator.go).
//  3. Start turns Options into QEMU's arguments (arguments.go), starts QEMU, and controls it over
//     its monitor (machine.go, monitor.go). Consoles and monitors are socket pairs, so they leave
//     nothing in the file system.
//  4. Console records every line of the serial console with the time since power-on, waits for
//     lines, and types (console.go). Boot uses them to report how long each part of the boot took
//     (boot.go).
//  5. Save writes a running machine, memory and disk, to files and ends it; Resume starts from them
//     any number of times (state.go).
//
// Package rack joins machine, lossy disk and lab; command up is for people. All waits have a time
// limit. QEMU ends with the process that started it.
package vm
