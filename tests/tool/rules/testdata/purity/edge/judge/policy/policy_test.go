package policy

import (
	"os"
	"time"
)

var began, home = time.Now(), os.TempDir()
