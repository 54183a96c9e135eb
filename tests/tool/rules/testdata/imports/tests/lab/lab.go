// Package lab is another room of tests: it may import what ships, not soak's.
package lab

import (
	_ "small/edge"
	_ "small/tests/soak/load"
)
