package tunnel

import "fmt"

// The implementations.
const (
	Auto      = "auto"      // the kernel's if it has one
	Kernel    = "kernel"    // the kernel's WireGuard device
	Userspace = "userspace" // wireguard-go over TUN, in this process
)

// The kernel's names for devices of the right kind.
const (
	kindWireGuard = "wireguard"
	kindTUN       = "tun"
)

// choice is which implementation to start with, and why.
type choice struct {
	implementation string
	why            string
	// fallback allows userspace instead, if the kernel turns out to have no WireGuard.
	fallback bool
}

// choose decides from what the config asks for and from the kind of an existing device of the name;
// "": none exists.
func choose(name, asked, found string) (choice, error) {
	switch {
	case asked != Auto && asked != Kernel && asked != Userspace:
		return choice{}, fmt.Errorf("implementation %q: use %s, %s or %s", asked, Auto, Kernel, Userspace)
	case found != "" && found != kindWireGuard && found != kindTUN:
		return choice{}, fmt.Errorf("%s exists as a device of another kind (%s)", name, found)

	case asked == Kernel && found == kindTUN:
		return choice{}, fmt.Errorf("%s is a TUN of the userspace implementation: remove it first with `anymx-net -remove`", name)
	case asked == Userspace && found == kindWireGuard:
		return choice{}, fmt.Errorf("%s is a WireGuard device of the kernel: remove it first with `anymx-net -remove`", name)
	case asked != Auto:
		return choice{implementation: asked, why: "configured"}, nil

	case found == kindWireGuard:
		return choice{implementation: Kernel, why: "the kernel's device existed already"}, nil
	case found == kindTUN:
		return choice{implementation: Userspace, why: "the TUN device existed already"}, nil
	}
	return choice{implementation: Kernel, why: "the kernel has WireGuard", fallback: true}, nil
}

// withoutKernel is the choice after the kernel answered that it has no WireGuard.
func (c choice) withoutKernel() (choice, error) {
	if !c.fallback {
		return choice{}, fmt.Errorf("this kernel has no WireGuard (CONFIG_WIREGUARD): use %q or %q", Userspace, Auto)
	}
	return choice{implementation: Userspace, why: "the kernel has no WireGuard"}, nil
}
