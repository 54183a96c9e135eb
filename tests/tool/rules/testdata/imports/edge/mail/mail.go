// Package mail stands on nothing of ours.
package mail

import _ "small/edge/spool"
