package config

import "net/netip"

// listeners checks what ingress listens on, against itself and against the metrics addresses of the
// programs.
func (v *checker) listeners() {
	if len(v.Ingress.Listen) == 0 {
		v.report("ingress.listen", `missing: needs at least one address, such as "[::]:25"`)
	}
	type listener struct {
		key, text string
		addr      netip.AddrPort
	}
	var taken []listener
	add := func(key, text string) {
		addr, err := parseListen(text)
		if err != nil {
			v.report(key, "%s", err)
			return
		}
		for _, t := range taken {
			if overlap(t.addr, addr) {
				v.report(key, "%s is taken already by %s, %s", quote(text), t.key, quote(t.text))
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
		v.named(key, p.control, "the control socket needs a path", checkSocket)
		if other, twice := taken[p.control]; twice && p.control != "" {
			v.report(key, "is %s as well; each program needs a socket of its own", other)
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
