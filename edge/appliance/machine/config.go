package machine

import (
	"context"
	"errors"
	"os"
	"time"

	"anymx/edge/appliance/provision"
	"anymx/edge/operate/api"
)

// mailUnits are the programs that read the config, in the order in which they are
// started.
var mailUnits = []string{"anymx-net.service", "anymx-bgp.service", "anymx-edge.service"}

// provisionLimit is for reading the sources again and for what systemd has to do then.
const provisionLimit = 5 * time.Minute

// troubleUnit says on the network what is wrong with the config.
const troubleUnit = "anymx-trouble.service"

// provision has the sources of the config read again, and has those read it that
// it is for. A config that is not valid changes nothing.
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
	// The page of a node without a config has done its work, and gives its port away.
	failed := []error{m.systemctl(ctx, "stop", troubleUnit)}
	if len(r.Changed.Network) > 0 {
		failed = append(failed, run(ctx, func(line string) { m.Log.Info("networkctl", "says", line) }, m.Networkctl, "reload"))
	}
	// To its end: a reload that comes meanwhile would take the stop's place.
	if !provision.WantsRoutes(m.System.Root) {
		failed = append(failed, m.systemctl(ctx, "stop", "anymx-bgp.service"))
	}
	switch { // systemd hands secrets out at a start
	case len(r.Changed.Credentials) > 0:
		failed = append(failed, m.systemctl(ctx, append([]string{"--no-block", "restart"}, mailUnits...)...))
	case len(r.Changed.Config) > 0:
		failed = append(failed, m.systemctl(ctx, append([]string{"--no-block", "reload-or-restart"}, mailUnits...)...))
	}
	return p, errors.Join(failed...)
}
