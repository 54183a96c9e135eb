package config

import "net/netip"

// listeners checks what ingress listens on, against itself and against the metrics addresses of the
// programs.
func (v *checker) listeners() {
	type listener struct {
		key, text string
		addr      netip.AddrPort
	}
	var taken []listener
	add := func(key, text string) {
		addr, err := parseListen(text)
		if err != nil {
			return
		}
		for _, t := range taken {
			if overlap(t.addr, addr) {
				v.report(key, "%s is already used by %s, %s", quote(text), t.key, quote(t.text))
				return
			}
		}
		taken = append(taken, listener{key, text, addr})
	}
	for i, text := range v.Ingress.Listen {
		add(index("ingress.listen", i), text)
	}
	for _, p := range v.programs() {
		if p.metrics != "" {
			add(p.section+".metrics", p.metrics)
		}
	}
}

// sockets checks the control sockets of the programs, which must differ.
func (v *checker) sockets() {
	taken := map[string]string{}
	for _, p := range v.programs() {
		key := p.section + ".control"
		if other, twice := taken[p.control]; twice && p.control != "" {
			v.report(key, "is also %s; each program needs a socket of its own", other)
		} else {
			taken[p.control] = key
		}
	}
}

// program is what each program of the node has of its own.
type program struct{ section, control, metrics string }

// programs are those that the config has a part for, in the order of the file.
func (v *checker) programs() []program {
	all := []program{{"node", v.Node.Control, v.Node.Metrics}}
	if v.BGP != nil {
		all = append(all, program{"bgp", v.BGP.Control, v.BGP.Metrics})
	}
	return append(all, program{"net", v.Net.Control, v.Net.Metrics})
}
