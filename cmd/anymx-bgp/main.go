// Command anymx-bgp is the BGP speaker of a node: it watches the node's health,
// and announces or withdraws its prefixes. It runs as a user of its own, without
// a capability.
package main

import (
	"anymx/edge/service"
	"anymx/edge/uplink/anycast"
)

func main() {
	service.Program{
		Name:     "anymx-bgp",
		Does:     "anymx-bgp announces the node's prefixes by BGP, while the node is healthy.",
		Help:     help,
		Sections: anycast.Sections,
		Run:      anycast.Run,
	}.Main()
}

const help = `Example of its part of the config:

  [anycast]
  addresses = ["192.0.2.25/32"]
  prefixes = ["192.0.2.0/24"]

  [bgp]
  asn = 64512
  router_id = "198.51.100.2"

  [[bgp.peer]]
  address = "198.51.100.1"
  asn = 64500

Signals: TERM and INT take the routes back and end it, a second one kills it; HUP
reads the config again. "anymx status" shows what is announced, and why.
`
