// Package queue may import spool. Its row lists handoff too, but handoff's wing comes later.
package queue

import (
	_ "small/edge/delivery/handoff"
	_ "small/edge/spool"
)
