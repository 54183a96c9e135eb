// Package edge may import all below it, not what stands beside it.
package edge

import (
	_ "small/bgp"
	_ "small/edge/queue"
	_ "small/edge/queue/queuetest"
)
