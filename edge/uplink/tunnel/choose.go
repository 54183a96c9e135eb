package tunnel

import "fmt"

// The implementations.
const (
	Auto      = "auto"      // the kernel's where there is one
	Kernel    = "kernel"    // the kernel's WireGuard device
	Userspace = "userspace" // wireguard-go over TUN, in this process
)

// What a device of the right kind is called by the kernel.
const (
	kindWireGuard = "wireguard"
	kindTUN       = "tun"
)

// choice is how a tunnel is begun.
type choice struct {
	implementation string
	why            string
	// fallback says that userspace may stand in, if it turns out that the
	// kernel has no WireGuard.
	fallback bool
}

// choose decides from what was asked for and from the kind of device that
// already has the name; "": none.
func choose(name, asked, found string) (choice, error) {
	switch {
	case asked != Auto && asked != Kernel && asked != Userspace:
		return choice{}, fmt.Errorf("implementation %q is not %s, %s or %s", asked, Auto, Kernel, Userspace)
	case found != "" && found != kindWireGuard && found != kindTUN:
		return choice{}, fmt.Errorf("%s is a device of another kind (%s)", name, found)

	case asked == Kernel && found == kindTUN:
		return choice{}, fmt.Errorf("%s is a TUN of the userspace implementation: remove it first", name)
	case asked == Userspace && found == kindWireGuard:
		return choice{}, fmt.Errorf("%s is a WireGuard device of the kernel: remove it first", name)
	case asked != Auto:
		return choice{implementation: asked, why: "asked for"}, nil

	case found == kindWireGuard:
		return choice{implementation: Kernel, why: "the kernel's device was there already"}, nil
	case found == kindTUN:
		return choice{implementation: Userspace, why: "the TUN was there already"}, nil
	}
	return choice{implementation: Kernel, why: "the kernel has WireGuard", fallback: true}, nil
}

// withoutKernel is the choice where the kernel answered that it has no WireGuard.
func (c choice) withoutKernel() (choice, error) {
	if !c.fallback {
		return choice{}, fmt.Errorf("this kernel has no WireGuard (CONFIG_WIREGUARD): use %q or %q", Userspace, Auto)
	}
	return choice{implementation: Userspace, why: "the kernel has no WireGuard"}, nil
}
