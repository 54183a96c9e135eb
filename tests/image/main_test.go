// Package image boots the appliance in QEMU, beside a real router and a real core,
// and does to it what its operators and its bad days do.
//
// What happens to the data: the images are built once (images_test.go); each test
// has a machine with a disk of its own in the lab (machine_test.go), in the place of
// PoP a; commands are typed at the machine's console, and what came of them is looked
// for at the far side: in r1's table, in core's mailbox, at the client.
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
