// Package configtest has parts of a valid config, for the tests of those that read one.
package configtest

// Announced are the sections of a node that has a tunnel to core and announces its prefixes to one
// router. The last section is that of the router.
const Announced = `[tunnel]
private_key_file = "credential:wg.key"
address = ["10.77.0.2/24"]
[[tunnel.peer]]
public_key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
endpoint = "203.0.113.9:51820"
allowed_ips = ["10.77.0.0/24"]

[anycast]
addresses = ["192.0.2.25/32"]
prefixes = ["192.0.2.0/24"]

[bgp]
asn = 64512
router_id = "198.51.100.2"
[[bgp.peer]]
address = "198.51.100.1"
asn = 64500
`
