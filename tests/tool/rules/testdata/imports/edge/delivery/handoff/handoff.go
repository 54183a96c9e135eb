// Package handoff may import queue.
package handoff

import _ "small/edge/queue"
