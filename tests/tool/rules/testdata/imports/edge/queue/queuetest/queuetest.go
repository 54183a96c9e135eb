// Package queuetest serves tests of queue, and has a row of its own.
package queuetest

import (
	_ "small/edge/delivery/handoff"
	_ "small/edge/queue"
	_ "small/edge/spool"
)
