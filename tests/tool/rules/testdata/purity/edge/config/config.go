// Package config reads one file.
package config

import (
	"net"
	"os"
)

var (
	read  = os.ReadFile
	split = net.SplitHostPort
)
