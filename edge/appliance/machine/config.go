package machine

import (
	"context"
	"errors"
	"os"
	"time"

	"anymx/edge/appliance/provision"
	"anymx/edge/operate/api"
)

// mailUnits are the programs that read the config, in their start order.
var mailUnits = []string{"anymx-net.service", "anymx-bgp.service", "anymx-edge.service"}

// provisionLimit bounds reading the sources again and what systemd has to do then.
const provisionLimit = 5 * time.Minute

// troubleUnit serves what is wrong with the config over the network.
const troubleUnit = "anymx-trouble.service"

// provision reads the config sources again, and makes the programs that are affected read the
// config. An invalid config changes nothing.
func (m *Machine) provision(ctx context.Context, want api.ProvisionRequest) (api.Provisioned, error) {
	m.provisioning.Lock()
	defer m.provisioning.Unlock()
	if want.Forget {
		if err := provision.Forget(m.System.Root); err != nil {
			return api.Provisioned{}, err
		}
	}
	r, err := provision.Run(ctx, provision.Options{Root: m.System.Root, Credentials: os.Getenv("CREDENTIALS_DIRECTORY"), Settle: provision.Settle, Reload: func(ctx context.Context) error { return m.systemctl(ctx, "daemon-reload") }})
	p := api.Provisioned{Source: r.Source, InForce: r.InForce, OK: r.OK(), Text: r.Text()}
	if err != nil || !r.OK() {
		return p, err
	}
	// The page of a node without a config is no longer needed: it releases its port.
	failed := []error{m.systemctl(ctx, "stop", troubleUnit)}
	if len(r.Changed.Network) > 0 {
		failed = append(failed, run(ctx, func(line string) { m.Log.Info("networkctl", "says", line) }, m.Networkctl, "reload"))
	}
	// Wait for it: a reload in between would replace the stop job.
	if !provision.WantsRoutes(m.System.Root) {
		failed = append(failed, m.systemctl(ctx, "stop", "anymx-bgp.service"))
	}
	switch { // systemd passes secrets at start
	case len(r.Changed.Credentials) > 0:
		failed = append(failed, m.systemctl(ctx, append([]string{"--no-block", "restart"}, mailUnits...)...))
	case len(r.Changed.Config) > 0:
		failed = append(failed, m.systemctl(ctx, append([]string{"--no-block", "reload-or-restart"}, mailUnits...)...))
	}
	return p, errors.Join(failed...)
}
