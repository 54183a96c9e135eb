package edge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"anymx/edge/config"
	"anymx/edge/ingress/smtpd"
	"anymx/edge/operate/api"
	"anymx/edge/service"
)

// inForce is the config that the node works by, and what became of the last
// attempt to change it.
type inForce struct {
	config  *config.Config
	loaded  time.Time
	problem string   // why the last reload changed nothing, or what it did not take
	partly  bool     // it took the config, but not each file
	restart []string // keys of the file that wait for a restart
}

// Parts of the node that mail does not need, in Degraded.
const (
	partCertificate = "certificate"
	partRecipients  = "recipients"
	partDrain       = "drain"
)

// warnOfRouting logs that c accepts what core must not route on.
func (n *Node) warnOfRouting(c *config.Config) {
	if c.Ingress.SenderRouting == config.SenderRoutingAllow {
		n.log.Warn(`sender-specified routing is allowed: core is an open relay unless it ignores "%", "!" and "@" in local parts; see ingress.sender_routing`)
	}
}

// readFiles reads the files that c names and makes ingress's settings of it all. A
// file that can't be read costs itself alone: the certificate or the list before it
// stays in force; without one STARTTLS is not offered, or the domain's mail is
// deferred. n.reloading is held, but by Open.
func (n *Node) readFiles(c *config.Config) smtpd.Settings {
	domains, problems := n.read.readDomains(c)
	n.degraded.ReportAll(partRecipients, problems)
	if c.Ingress.TLSCert == "" {
		n.certificate.forget()
		n.degraded.ReportAll(partCertificate, nil)
		return smtpdSettings(c, domains, nil)
	}
	err := n.certificate.load(c.Ingress.TLSCert, c.Ingress.TLSKey)
	if err != nil && n.certificate.leaf() == nil {
		err = fmt.Errorf("%w; STARTTLS is not offered", err)
	}
	n.degraded.ReportAll(partCertificate, map[string]error{"ingress.tls_cert": err})
	return smtpdSettings(c, domains, n.certificate.config(c.Ingress.TLSMinVersion))
}

// Reload reads the config, the certificate and the recipients again, and takes
// them for connections and attempts to come. Nothing changes if anything is wrong with
// the config, or with a file that it names: whoever asks for a reload is there to mend
// it. Only what was missing before still costs itself alone, as readFiles says.
func (n *Node) Reload(context.Context) (api.Reloaded, error) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	now := n.config.Load()
	next, err := config.Load(n.o.File, "core")
	if err == nil {
		err = n.newlyBroken(next)
	}
	if err == nil {
		if err = n.courier.Reload(handoffOptions(now.config.Take(next), n.tunnel)); err == nil {
			n.warnOfRouting(next)
			n.ingress.Configure(n.readFiles(next))
		}
	}
	if err != nil {
		n.config.Store(&inForce{config: now.config, loaded: now.loaded, problem: err.Error(), restart: now.restart})
		n.log.Error("reload changed nothing", "err", err)
		return api.Reloaded{}, err
	}
	service.SetLevel(n.o.Level, next)
	restart := now.config.NeedsRestart(next)
	changed := slices.DeleteFunc(now.config.Changed(next), func(key string) bool { return slices.Contains(restart, key) })
	broken := n.brokenFiles()
	n.config.Store(&inForce{config: now.config.Take(next), loaded: time.Now(), restart: restart, problem: broken, partly: broken != ""})
	n.log.Info("reloaded", "changed", changed, "restart", restart)
	if broken != "" {
		return api.Reloaded{}, fmt.Errorf("the config is in force, but files that it names were not taken: %s", broken)
	}
	return api.Reloaded{Changed: changed, Restart: restart}, nil
}

// newlyBroken says which files that c names can't be read, but for those that the node
// goes without already.
func (n *Node) newlyBroken(c *config.Config) error {
	var errs []error
	for i, d := range c.Domains {
		path, ok := strings.CutPrefix(d.Recipients, config.RecipientsFile)
		if !ok || n.degraded.Has(partRecipients, d.Name) {
			continue
		}
		if _, err := readRecipients(path, d.Name); err != nil {
			errs = append(errs, fmt.Errorf("domain[%d].recipients: %w", i, err))
		}
	}
	if in := &c.Ingress; in.TLSCert != "" && !n.degraded.Has(partCertificate, "ingress.tls_cert") {
		if _, err := readCertificate(in.TLSCert, in.TLSKey); err != nil {
			errs = append(errs, fmt.Errorf("ingress.tls_cert: %w", err))
		}
	}
	return errors.Join(errs...)
}

// brokenFiles says what is wrong with certificate and recipients, a line for each.
func (n *Node) brokenFiles() string {
	var lines []string
	for _, d := range n.degraded.List() {
		if d.Part == partCertificate || d.Part == partRecipients {
			lines = append(lines, d.Problem)
		}
	}
	return strings.Join(lines, "\n")
}

// reloadFiles reads certificate and recipients again. changed says that one of the
// files has changed.
func (n *Node) reloadFiles(changed bool) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	force := *n.config.Load()
	n.ingress.Configure(n.readFiles(force.config))
	if broken := n.brokenFiles(); force.partly && broken != force.problem {
		force.problem, force.partly = broken, broken != ""
		n.config.Store(&force)
	}
	if changed {
		n.log.Info("certificate and recipients are read again")
	}
}
