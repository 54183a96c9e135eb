// Package edge may import what its row lists, not what lies beside it.
package edge

import (
	_ "small/bgp"
	_ "small/edge/queue"
	_ "small/edge/queue/queuetest"
)
