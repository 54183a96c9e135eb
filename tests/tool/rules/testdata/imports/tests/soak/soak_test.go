// Package soak has only test files: they may import any room.
package soak

import (
	_ "small/bgp"
	_ "small/edge"
	_ "small/edge/queue"
	_ "small/tests/lab"
	_ "small/tests/soak/load"
)
