// Package lab may not import a room of another test.
package lab

import (
	_ "small/edge"
	_ "small/tests/soak/load"
)
