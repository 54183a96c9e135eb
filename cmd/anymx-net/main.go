// Command anymx-net sets up a node's network: service addresses, source addresses with their rules,
// the tunnel to core, and the shield in front of ingress. It runs as a user of its own with
// CAP_NET_ADMIN and, for the shield, CAP_BPF and CAP_PERFMON, and nothing else.
package main

import (
	"context"
	"flag"
	"os"

	"anymx/edge/service"
	"anymx/edge/uplink/network"
)

func main() {
	var plan, remove bool
	service.Program{
		Name: "anymx-net", Does: "anymx-net puts a node's addresses, rules, routes, tunnel and shield in place, and keeps them so.",
		Help: `-plan needs no privilege. It exits with 0 if there is nothing to do, with 3 if
there is something. It does not look at the tunnel's keys, peers and MTU.
-remove is for a node that leaves service for good. What others made stays. It
errs if something remains, and names it.

Signals: TERM and INT end it, and everything stays in place; HUP reads the config
and the keys again. It needs CAP_NET_ADMIN, and CAP_BPF and CAP_PERFMON for a
shield.
`,
		Sections: network.Sections,
		Flags: func(f *flag.FlagSet) {
			f.BoolVar(&plan, "plan", false, "print what would be done, and do nothing")
			f.BoolVar(&remove, "remove", false, "remove what it made, print each step, and exit")
		},
		Run: func(ctx context.Context, env *service.Env) error {
			switch {
			case plan:
				return network.Plan(env, os.Stdout)
			case remove:
				return network.Remove(ctx, env, os.Stdout)
			}
			return network.Run(ctx, env)
		},
	}.Main()
}
