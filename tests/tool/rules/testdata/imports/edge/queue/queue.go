// Package queue may import spool, and must not know who carries.
package queue

import (
	_ "small/edge/delivery/handoff"
	_ "small/edge/spool"
)
