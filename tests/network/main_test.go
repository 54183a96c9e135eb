// Package network tests anymx-net as a node runs it: the real program, as a user of its own with
// few capabilities, in namespaces that look like a node and its neighbours.
//
// What happens to the data: each site is a network namespace and a mount namespace with a folder
// that holds the config and the keys. Tests look at what the kernel of the site has, at what
// reaches a neighbour, and at what the program reports. Nothing leaves the namespaces, and they end
// with the test.
package network

import (
	"os"
	"testing"

	"anymx/tests/pop"
)

func TestMain(m *testing.M) { os.Exit(pop.Main(m)) }
