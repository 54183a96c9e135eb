package edge

import (
	"fmt"
	"strings"
	"sync"

	"anymx/edge/config"
	"anymx/edge/judge/policy"
	"anymx/edge/service"
)

// filesOf returns the files named in the config that can change while a node runs.
func filesOf(c *config.Config) []string {
	var paths []string
	if c.Ingress.TLSCert != "" {
		paths = append(paths, c.Ingress.TLSCert, c.Ingress.TLSKey)
	}
	for _, d := range c.Domains {
		if path, ok := strings.CutPrefix(d.Recipients, config.RecipientsFile); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// inputs holds what the node has read from the files named in its config.
type inputs struct {
	mu sync.Mutex
	// lists holds the last valid recipients, by path and domain.
	lists map[list]*policy.Recipients
}

// list identifies a list of recipients: the same file may serve several domains.
type list struct{ path, domain string }

// readDomains reads the recipients of every domain. An unreadable list affects only its own domain:
// the previous list stays in force, and without one the domain's mail is deferred. problems are by
// domain.
func (in *inputs) readDomains(c *config.Config) (domains *policy.Domains, problems map[string]error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	problems = map[string]error{}
	lists := map[list]*policy.Recipients{}
	var all []policy.Domain
	for i, d := range c.Domains {
		path, ok := strings.CutPrefix(d.Recipients, config.RecipientsFile)
		if !ok {
			all = append(all, policy.Domain{Name: d.Name})
			continue
		}
		at := list{path, d.Name}
		recipients, err := readRecipients(path, d.Name)
		if err != nil {
			recipients = in.lists[at]
			state := "the list before it stays in force"
			if recipients == nil {
				state = "mail for the domain is deferred"
			}
			problems[d.Name] = fmt.Errorf("domain[%d].recipients: %w; %s", i, err, state)
		}
		if recipients == nil {
			recipients = policy.Unavailable
		} else {
			lists[at] = recipients
		}
		all = append(all, policy.Domain{Name: d.Name, Recipients: recipients})
	}
	in.lists = lists
	return policy.NewDomains(all), problems
}

// maxRecipientsFile bounds a list, in bytes. A million long addresses need less.
const maxRecipientsFile = 256 << 20

// readRecipients reads one list. It never blocks on a FIFO without a writer.
func readRecipients(path, domain string) (*policy.Recipients, error) {
	data, err := service.ReadFile(path, maxRecipientsFile)
	if err != nil {
		return nil, err
	}
	return policy.ParseRecipients(path, data, domain)
}
