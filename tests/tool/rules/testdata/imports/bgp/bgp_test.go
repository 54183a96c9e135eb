package bgp

import (
	_ "small/edge/mail" // not even in tests
	_ "small/tests/kit"
)
