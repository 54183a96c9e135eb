// Package queuetest serves tests of queue: it may import what queue may.
package queuetest

import (
	_ "small/edge/delivery/handoff"
	_ "small/edge/queue"
	_ "small/edge/spool"
)
