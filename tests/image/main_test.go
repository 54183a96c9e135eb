// Package image boots the appliance in QEMU, next to a real router and a real core, and tests it in
// everyday operation and in failures.
//
// What happens to the data: the images are built once (images_test.go). Each test has a machine
// with its own disk in the lab (machine_test.go), where it replaces PoP a. Tests type commands at
// the machine's console and check their effect outside: in r1's routing table, in core's mailbox,
// and at the client.
package image

import (
	"context"
	"fmt"
	"os"
	"testing"

	"anymx/tests/pop"
)

func TestMain(m *testing.M) {
	code := pop.Main(m)
	if theLab.up != nil {
		if err := theLab.up.Down(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	theImages.remove()
	os.Exit(code)
}
