// Package bgp knows nothing of mail.
package bgp
