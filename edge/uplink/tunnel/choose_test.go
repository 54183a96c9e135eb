package tunnel

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	tests := []struct{ asked, found, want, says string }{
		{Auto, "", Kernel, "the kernel has WireGuard"},
		{Auto, kindWireGuard, Kernel, "existed already"},
		{Auto, kindTUN, Userspace, "existed already"},
		{Kernel, "", Kernel, "configured"},
		{Kernel, kindWireGuard, Kernel, "configured"},
		{Userspace, "", Userspace, "configured"},
		{Userspace, kindTUN, Userspace, "configured"},
		{Kernel, kindTUN, "", "is a TUN"},
		{Userspace, kindWireGuard, "", "is a WireGuard device of the kernel"},
		{Auto, "tap", "", "of another kind (tap)"},
		{Userspace, "tap", "", "of another kind (tap)"},
		{Auto, "veth", "", "of another kind (veth)"},
		{Kernel, "device", "", "of another kind (device)"},
		{"boringtun", "", "", `"boringtun": use auto, kernel or userspace`},
	}
	for _, test := range tests {
		got, err := choose("wg-core", test.asked, test.found)
		said := got.why
		if err != nil {
			said = err.Error()
		}
		if got.implementation != test.want || (err == nil) != (test.want != "") || !strings.Contains(said, test.says) {
			t.Errorf("asked for %q where %q is: %+v, %v, want %q that says %q", test.asked, test.found, got, err, test.want, test.says)
		}
	}
}

func TestChooseWithoutKernel(t *testing.T) {
	auto, _ := choose("wg-core", Auto, "")
	got, err := auto.withoutKernel()
	if err != nil || got.implementation != Userspace || got.why != "the kernel has no WireGuard" || got.fallback {
		t.Errorf("auto without a kernel: %+v, %v", got, err)
	}
	kernel, _ := choose("wg-core", Kernel, "")
	if got, err := kernel.withoutKernel(); err == nil || !strings.Contains(err.Error(), "this kernel has no WireGuard") {
		t.Errorf("kernel without a kernel: %+v, %v", got, err)
	}
}
