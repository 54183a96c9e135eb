package edge

import (
	"context"
	"slices"
	"time"

	"anymx/edge/config"
	"anymx/edge/control"
	"anymx/edge/program"
	"anymx/edge/smtpd"
)

// inForce is the config that the node works by, and what became of the last
// attempt to change it.
type inForce struct {
	config  *config.Config
	loaded  time.Time
	problem string   // why the last reload changed nothing
	restart []string // keys of the file that wait for a restart
}

// load reads the files that c names and makes ingress's settings of it all. It
// changes nothing but the certificate, which is kept if it can't be read.
func (n *Node) load(c *config.Config) (smtpd.Settings, error) {
	domains, err := loadDomains(c)
	if err != nil {
		return smtpd.Settings{}, err
	}
	if c.Ingress.SenderRouting == config.SenderRoutingAllow {
		n.log.Warn(`sender-specified routing is allowed: core is an open relay unless it ignores "%", "!" and "@" in local parts; see ingress.sender_routing`)
	}
	if c.Ingress.TLSCert == "" {
		return smtpdSettings(c, domains, nil), nil
	}
	if err := n.certificate.load(c.Ingress.TLSCert, c.Ingress.TLSKey); err != nil {
		return smtpd.Settings{}, err
	}
	return smtpdSettings(c, domains, n.certificate.config(c.Ingress.TLSMinVersion)), nil
}

// Reload reads the config, the certificate and the recipients again, and takes
// them for connections and tries to come. If anything is wrong, nothing
// changes but the certificate, which is good by itself.
func (n *Node) Reload(context.Context) (control.Reloaded, error) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	now := n.config.Load()
	next, err := config.Load(n.o.File, "core")
	if err == nil {
		var settings smtpd.Settings
		if settings, err = n.load(next); err == nil {
			err = n.courier.Reload(handoffOptions(now.config.Take(next), n.tunnel))
		}
		if err == nil {
			n.ingress.Configure(settings)
		}
	}
	if err != nil {
		n.config.Store(&inForce{config: now.config, loaded: now.loaded, problem: err.Error(), restart: now.restart})
		n.log.Error("reload changed nothing", "err", err)
		return control.Reloaded{}, err
	}
	program.SetLevel(n.o.Level, next)
	restart := now.config.NeedsRestart(next)
	changed := slices.DeleteFunc(now.config.Changed(next), func(key string) bool { return slices.Contains(restart, key) })
	n.config.Store(&inForce{config: now.config.Take(next), loaded: time.Now(), restart: restart})
	n.log.Info("reloaded", "changed", changed, "restart", restart)
	return control.Reloaded{Changed: changed, Restart: restart}, nil
}

// reloadFiles takes a changed certificate or recipients file.
func (n *Node) reloadFiles() {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	settings, err := n.load(n.config.Load().config)
	if err != nil {
		n.log.Error("a changed file is not taken", "err", err)
		return
	}
	n.ingress.Configure(settings)
	n.log.Info("certificate and recipients are read again")
}
