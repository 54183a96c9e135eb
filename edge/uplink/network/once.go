package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"

	"anymx/edge/operate/control"
	"anymx/edge/service"
	"anymx/edge/uplink/plumb"
	"anymx/edge/uplink/tunnel"
)

// Something is the exit code of Plan when there is something to do; errors have 1, and unknown
// flags 2.
const Something service.Code = 3

// Plan writes what Run would do at its start, one line for each step, in the syntax of `ip`. It
// changes nothing and needs no privilege, and so it does not compare the tunnel's keys, peers and
// MTU, which need privilege to read. It returns nil if there is nothing to do, and Something if
// there is.
func Plan(env *service.Env, w io.Writer) error {
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
	lines, err := planShield(env.Config)
	if err != nil {
		return err
	}
	for _, line := range lines {
		none = false
		fmt.Fprintln(w, line)
	}
	for _, step := range steps {
		line := step.String()
		if device := step.Thing.Device(); device != "" && !exists(device) {
			line += " # device " + device + " does not exist yet"
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

// Remove removes only what anymx-net made, and writes each step. It fails if anymx-net runs, which
// would restore everything, and if something remains, which it names.
func Remove(ctx context.Context, env *service.Env, w io.Writer) error {
	if err := privilege(); err != nil {
		return err
	}
	socket, err := control.Listen(env.Config.Net.Control) // held until the end, so that none starts meanwhile
	switch {
	case errors.Is(err, control.ErrSocketLive):
		return errors.New("anymx-net is running and would restore everything: stop it first")
	case errors.Is(err, fs.ErrNotExist): // without the socket's directory none can run
	case err != nil:
		return err
	default:
		defer socket.Close()
	}
	plumbing, err := plumb.Open(plumb.Options{})
	if err != nil {
		return err
	}
	defer plumbing.Close()
	var device string
	if t := env.Config.Tunnel; t != nil {
		device = t.Interface
	}
	removed, foreign := tunnel.Remove(device)
	for _, name := range removed {
		fmt.Fprintf(w, "ip link del dev %s\n", name)
	}
	steps, err := plumbing.Set(ctx, nil)
	for _, step := range steps {
		fmt.Fprintln(w, step)
	}
	errs := []error{foreign, err}
	left := plumbing.Status()
	for _, problem := range remains(left, len(left.Left)) {
		errs = append(errs, errors.New(problem))
	}
	if there(env.Config) { // after the addresses that it protects
		unpinned := unpin(env.Config)
		if unpinned == nil {
			fmt.Fprintf(w, "rm -r %s # the shield, with its counters\n", pinsOf(env.Config))
		}
		errs = append(errs, unpinned)
	}
	return errors.Join(errs...)
}
