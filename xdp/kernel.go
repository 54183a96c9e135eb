package xdp

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// MissingError says what a shield needs that the process or the kernel lacks.
type MissingError struct {
	What string // "capability CAP_BPF", "kernel feature bpf_loop (Linux 5.17)"
	Err  error  // the kernel's error; nil if it was not asked
}

func (e *MissingError) Error() string {
	if e.Err == nil {
		return "the shield needs the " + e.What
	}
	return fmt.Sprintf("the shield needs the %s: %v", e.What, e.Err)
}

func (e *MissingError) Unwrap() error { return e.Err }

// able returns a *MissingError for the first missing requirement.
func able() error {
	have, err := capabilities()
	if err != nil {
		return err
	}
	for _, need := range []struct {
		bit  uint
		name string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}} {
		// CAP_SYS_ADMIN includes the two newer capabilities.
		admin := need.bit != unix.CAP_NET_ADMIN && have&(1<<unix.CAP_SYS_ADMIN) != 0
		if have&(1<<need.bit) == 0 && !admin {
			return &MissingError{What: "capability " + need.name}
		}
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return &MissingError{What: "kernel feature BTF (CONFIG_DEBUG_INFO_BTF)", Err: err}
	}
	for _, need := range []struct {
		helper asm.BuiltinFunc
		name   string
	}{
		{asm.FnSkcLookupTcp, "bpf_skc_lookup_tcp (Linux 5.2)"},
		{asm.FnTcpGenSyncookie, "bpf_tcp_gen_syncookie (Linux 5.4)"},
		{asm.FnKtimeGetCoarseNs, "bpf_ktime_get_coarse_ns (Linux 5.11)"},
		{asm.FnLoop, "bpf_loop (Linux 5.17)"},
	} {
		err := features.HaveProgramHelper(ebpf.XDP, need.helper)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return &MissingError{What: "kernel feature " + need.name, Err: err}
		}
		if err != nil {
			return fmt.Errorf("asking the kernel for %s: %w", need.name, explain(err))
		}
	}
	return nil
}

// capabilities returns the effective set of this process.
func capabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("reading capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

// lacksHandOver is empty if the kernel accepts completed handshakes.
func lacksHandOver() string {
	const name = "bpf_sk_assign_tcp_reqsk"
	types, err := btf.LoadKernelSpec()
	if err != nil {
		return err.Error()
	}
	var f *btf.Func
	if err := types.TypeByName(name, &f); err != nil {
		return "the kernel has no " + name + " (Linux 6.9)"
	}
	return ""
}

// explain adds the end of the verifier's log to err, which is meaningless without it.
func explain(err error) error {
	var refused *ebpf.VerifierError
	if !errors.As(err, &refused) || len(refused.Log) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(refused.Log[max(0, len(refused.Log)-3):], "; "))
}

// monotonic returns the time of the programs' clock, in ns.
func monotonic() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		panic("no monotonic clock: " + err.Error()) // every Linux has it
	}
	return uint64(t.Nano())
}

// sysctls are the options that the stack of this network namespace uses. The shield must not
// negotiate others on its behalf.
type sysctls struct {
	cookies, sack, timestamps, windowScale bool
}

func readSysctls() sysctls {
	on := func(name string) bool {
		text, err := os.ReadFile("/proc/sys/net/ipv4/" + name)
		return err != nil || strings.TrimSpace(string(text)) != "0"
	}
	return sysctls{on("tcp_syncookies"), on("tcp_sack"), on("tcp_timestamps"), on("tcp_window_scaling")}
}

func (c sysctls) flags() (flags uint32) {
	for flag, on := range map[uint32]bool{flagNoSACK: c.sack, flagNoTimestamps: c.timestamps, flagNoWindowScale: c.windowScale} {
		if !on {
			flags |= flag
		}
	}
	return flags
}
