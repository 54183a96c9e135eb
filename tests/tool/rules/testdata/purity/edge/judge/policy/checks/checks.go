// Package checks does the I/O beside policy.
package checks

import "net"

var resolver net.Resolver
