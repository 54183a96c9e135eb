package spool

import _ "small/edge/queue" // a test may
