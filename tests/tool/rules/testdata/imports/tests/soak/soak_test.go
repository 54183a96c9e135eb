// Package soak may import any room that ships.
package soak

import (
	_ "small/bgp"
	_ "small/edge"
	_ "small/edge/queue"
	_ "small/tests/lab"
	_ "small/tests/soak/load"
)
