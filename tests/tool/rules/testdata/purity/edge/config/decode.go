package config

import (
	"os"
	"time"
)

var pid, later = os.Getpid(), time.Now().Add(time.Hour)
