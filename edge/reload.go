package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"anymx/edge/config"
	"anymx/edge/ingress/certificate"
	"anymx/edge/ingress/recipients"
	"anymx/edge/ingress/smtpd"
	"anymx/edge/operate/api"
	"anymx/edge/service"
)

// newReloader creates the reloader of the config file and the files that it names.
func (n *Node) newReloader() *service.Reloader {
	return service.NewReloader(service.ReloadOptions{
		File: n.options.File, Sections: []string{"core"}, Config: n.options.Config, Log: n.log, Level: n.options.Level, Requests: n.options.Reload,
		Prepare: n.prepareConfig,
		Files:   filesOf,
		Reread: func(_ context.Context, changed bool) {
			n.ingress.Configure(n.readFiles(n.reloader.Config()))
			if changed {
				n.log.Info("certificate and recipients are read again")
			}
		},
		Missing: func() bool { return n.degraded.Any(partCertificate) || n.degraded.Any(partRecipients) },
		Problem: n.brokenFiles,
	})
}

// filesOf returns the files named in the config that can change while a node runs.
func filesOf(c *config.Config) []string {
	files := recipients.Files(c)
	if c.Ingress.TLSCert != "" {
		files = append(files, c.Ingress.TLSCert, c.Ingress.TLSKey)
	}
	return files
}

// Parts of the node that mail does not need, as named in Degraded.
const (
	partCertificate = "certificate"
	partRecipients  = "recipients"
	partDrain       = "drain"
)

// warnOfRouting warns if c accepts sender-specified routing, on which core must not act, and of core
// groups that no mail goes to.
func (n *Node) warnOfRouting(c *config.Config) {
	if unused := c.UnusedCores(); len(unused) > 0 {
		n.log.Warn("no domain names these core groups: no mail goes there", "groups", unused)
	}
	if c.Ingress.SenderRouting == config.SenderRoutingAllow {
		n.log.Warn(`sender-specified routing is allowed: core is an open relay unless it ignores "%", "!" and "@" in local parts; see ingress.sender_routing`)
	}
}

// readFiles reads the files that c names and builds ingress's settings from all of it. An
// unreadable file affects only its own function: the previous certificate or list stays in force;
// without one STARTTLS is not offered, or the domain's mail is deferred. Open and the reloader call
// it.
func (n *Node) readFiles(c *config.Config) smtpd.Settings {
	n.own.Probed(probed(c.Anycast.Addresses))
	domains, problems := n.recipients.Read(c)
	n.degraded.ReportAll(partRecipients, problems)
	if c.Ingress.TLSCert == "" {
		n.certificate.Forget()
		n.degraded.ReportAll(partCertificate, nil)
		return smtpdSettings(c, domains, nil)
	}
	err := n.certificate.Load(c.Ingress.TLSCert, c.Ingress.TLSKey)
	if err != nil && n.certificate.Leaf() == nil {
		err = fmt.Errorf("%w; STARTTLS is not offered", err)
	}
	n.degraded.ReportAll(partCertificate, map[string]error{"ingress.tls_cert": err})
	return smtpdSettings(c, domains, n.certificate.Config(c.Ingress.TLSMinVersion))
}

// Reload reads the config, the certificate and the recipients again, and applies them to new
// connections and attempts. Any error in the config, or in a file that it names, leaves everything
// unchanged: whoever asked for the reload is there to fix it. Only a file that was missing before
// is tolerated, as in readFiles.
func (n *Node) Reload(ctx context.Context) (api.Reloaded, error) { return n.reloader.Reload(ctx) }

// prepareConfig checks the files that next names. The courier checks its options and applies them
// at once, so nothing may fail after it.
func (n *Node) prepareConfig(_ context.Context, _, next *config.Config) (apply func(), err error) {
	if err := n.newlyBroken(next); err != nil {
		return nil, err
	}
	if err := n.courier.Reload(n.coreOptions(next)); err != nil {
		return nil, err
	}
	return func() {
		n.routes.Store(routes(next))
		n.warnOfRouting(next)
		n.ingress.Configure(n.readFiles(next))
	}, nil
}

// newlyBroken reports which files named by c can't be read, except those that the node already runs
// without.
func (n *Node) newlyBroken(c *config.Config) error {
	errs := []error{recipients.Check(c, func(domain string) bool { return n.degraded.Has(partRecipients, domain) })}
	if in := &c.Ingress; in.TLSCert != "" && !n.degraded.Has(partCertificate, "ingress.tls_cert") {
		if _, err := certificate.Read(in.TLSCert, in.TLSKey); err != nil {
			errs = append(errs, fmt.Errorf("ingress.tls_cert: %w", err))
		}
	}
	return errors.Join(errs...)
}

// brokenFiles returns what is wrong with certificate and recipients, a line for each.
func (n *Node) brokenFiles() string {
	var lines []string
	for _, d := range n.degraded.List() {
		if d.Part == partCertificate || d.Part == partRecipients {
			lines = append(lines, d.Problem)
		}
	}
	return strings.Join(lines, "\n")
}
