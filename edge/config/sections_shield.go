package config

// Shield is the packet filter in front of ingress. It protects the service addresses, on the ports
// that ingress.listen has for them.
type Shield struct {
	// Interfaces lists the devices that packets from senders come in by: those of the hardware, which
	// cover the VLANs on top of them. Needed unless `mode` is `"off"`. A device that does not exist yet
	// is attached to when it appears.
	Interfaces []string `toml:"interfaces" missing:"say where packets come in, such as [\"eth0\"], or set mode = \"off\"" unless:"mode=off" format:"interface" change:"reload"`
	// Mode says where packets are filtered. `"native"`: in the driver. `"generic"`: in the kernel's
	// stack, slower, on any device. `"auto"`: native where the driver can. `"off"`: not at all, and
	// everything passes.
	Mode string `toml:"mode" default:"auto" oneof:"auto,native,generic,off" change:"reload"`
	// KeyFile is the file or credential with the key that makes SYN cookies, 16 bytes or more. Nodes
	// that announce the same prefix share it and accept each other's cookies: a connection whose
	// packets move to another node in the middle of its handshake succeeds. Empty: a random key, and
	// only the node's own cookies count. A change breaks the handshakes under way.
	KeyFile string `toml:"key_file" format:"secret" change:"reload"`
	// Epoch is how long a key derived from it makes cookies. A cookie is good for half of it at least.
	// It is the same on all nodes with the same key, whose clocks may differ by half of it.
	Epoch Duration `toml:"epoch" default:"2m" min:"4s" max:"1h" change:"reload"`
	// Cookies says when SYNs are answered with cookies, which need no memory. `"adaptive"`: above
	// `syn_rate`. `"always"`: a client that loses the last packet of its handshake waits for a banner in
	// vain. `"never"`: SYNs and strays pass, whatever their rate.
	Cookies string `toml:"cookies" default:"adaptive" oneof:"adaptive,always,never" change:"reload"`
	// SYNRate is how many SYNs in a second, to all service addresses together, pass to the stack; above
	// it they are answered with cookies. Set it far above what the node sees in its busiest minute, and
	// far below what it can't bear. It is counted in windows of an eighth of a second, so that less than
	// 8 counts as 8.
	SYNRate int `toml:"syn_rate" default:"1000" min:"1" max:"1000000000" change:"reload"`
	// StrayRate is how many segments in a second that fit no connection pass to the stack, which resets
	// them; above it they are dropped. It is counted like `syn_rate`.
	StrayRate int `toml:"stray_rate" default:"1000" min:"1" max:"1000000000" change:"reload"`
	// Hold is how long a rate counts as exceeded after it last was. With too short a time each pause of
	// a flood lets its next wave in.
	Hold Duration `toml:"hold" default:"10s" min:"1s" max:"1h" change:"reload"`
	// ConnectionRate is how many new connections in a second a /24 (IPv4) or /64 (IPv6) may open,
	// counted where it has proved its address; more are dropped, and their senders try again. 0: no
	// limit. Prefixes on the allow list have none.
	ConnectionRate int `toml:"connection_rate" default:"100" max:"1000000000" change:"reload"`
	// ConnectionBurst is how many of them it may open at once. 0: ten seconds' worth.
	ConnectionBurst int `toml:"connection_burst" max:"1000000000" change:"reload"`
	// Fragments says what happens to fragments for a service address. TCP sends none; what passes is
	// put together by the stack and meets no other rule.
	Fragments string `toml:"fragments" default:"drop" oneof:"drop,pass" change:"reload"`
	// Unparsable says what happens to frames for a service address whose headers can't be followed.
	Unparsable string `toml:"unparsable" default:"drop" oneof:"drop,pass" change:"reload"`
	// Unserved says what happens to UDP and to ports of a service address that `ingress.listen` does
	// not have; what is dropped gets no answer.
	Unserved string `toml:"unserved" default:"drop" oneof:"drop,pass" change:"reload"`
	// BlockFile is the list of prefixes whose packets to service addresses are dropped: one a line, an
	// address means itself alone, comments follow `#`. It is read again when it changes. It, `allow_file`
	// and what `anymx shield block` added are 100,000 of each IP version together at most. Empty: none.
	BlockFile string `toml:"block_file" format:"path" change:"reload"`
	// AllowFile is the list of prefixes, in the same form, that a shorter prefix on the block list does
	// not affect, and that have no `connection_rate`. They get cookies like any other: an address can be
	// forged. Empty: none.
	AllowFile string `toml:"allow_file" format:"path" change:"reload"`
	// Pins is the directory on a BPF file system in which the filter goes on while `anymx-net` is away.
	// Each node on a machine needs one of its own.
	Pins string `toml:"pins" default:"/sys/fs/bpf/anymx" missing:"the filter needs a directory on a BPF file system to outlive anymx-net in" format:"path" change:"restart"`
	// MTU is the MTU of the way to senders: it gives the segment size that cookies offer. Too large, and
	// long messages stall; too small costs throughput.
	MTU int `toml:"mtu" default:"1500" min:"1280" max:"65535" change:"reload"`
}
