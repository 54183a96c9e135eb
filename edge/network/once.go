package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"anymx/edge/control"
	"anymx/edge/plumb"
	"anymx/edge/program"
	"anymx/edge/tunnel"
)

// Something is the exit code of Plan when there is something to do; 1 and 2 are
// taken, by errors and by unknown flags.
const Something program.Code = 3

// Plan writes what Run would do at its start, one line for each step, as `ip`
// would take it. It changes nothing and needs no privilege. It returns nil if there
// is nothing to do, and Something if there is.
func Plan(env *program.Env, w io.Writer) error {
	plumbing, err := plumb.Open(plumb.Options{})
	if err != nil {
		return err
	}
	defer plumbing.Close()
	steps, err := plumbing.Plan(wants(env.Config))
	if err != nil {
		return err
	}
	none := len(steps) == 0
	if t := env.Config.Tunnel; t != nil && !exists(t.Interface) {
		none = false
		fmt.Fprintf(w, "ip link add dev %s type wireguard # or a TUN, if the kernel has no WireGuard\n", t.Interface)
	}
	for _, step := range steps {
		line := step.String()
		if device := step.Thing.Device(); device != "" && !exists(device) {
			line += " # there is no device " + device + " yet"
		}
		fmt.Fprintln(w, line)
	}
	if none {
		return nil
	}
	return Something
}

func exists(device string) bool {
	_, err := net.InterfaceByName(device)
	return err == nil
}

// Remove takes away what was made here and nothing else, and writes each step. It
// errs if anymx-net runs, which would put everything back.
func Remove(ctx context.Context, env *program.Env, w io.Writer) error {
	if err := privilege(); err != nil {
		return err
	}
	socket, err := control.Listen(env.Config.Net.Control) // held until the end, so that none starts meanwhile
	if errors.Is(err, control.ErrSocketLive) {
		return errors.New("anymx-net runs, and would put everything back: stop it first")
	}
	if err != nil {
		return err
	}
	defer socket.Close()
	plumbing, err := plumb.Open(plumb.Options{})
	if err != nil {
		return err
	}
	defer plumbing.Close()
	var kept error
	if t := env.Config.Tunnel; t != nil && exists(t.Interface) {
		if kept = tunnel.Remove(t.Interface); kept == nil {
			fmt.Fprintf(w, "ip link del dev %s\n", t.Interface)
		}
	}
	steps, err := plumbing.Set(ctx, nil)
	for _, step := range steps {
		fmt.Fprintln(w, step)
	}
	return errors.Join(kept, err)
}
