// Package recipients reads the files that list the recipients of the domains.
//
// What happens to the data: Read reads the list of each domain and gives policy what it decides on.
// A list that can't be read affects its own domain only: the one before it stays in force. Lists
// holds the last valid list of each domain for that.
package recipients

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"anymx/edge/config"
	"anymx/edge/judge/policy"
	"anymx/edge/service"
)

// Files returns the paths of the lists that c names.
func Files(c *config.Config) []string {
	var paths []string
	for _, d := range c.Domains {
		if path, ok := strings.CutPrefix(d.Recipients, config.RecipientsFile); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// Check returns which lists that c names can't be read, except those of domains for which skip is
// true.
func Check(c *config.Config, skip func(domain string) bool) error {
	var errs []error
	for i, d := range c.Domains {
		path, ok := strings.CutPrefix(d.Recipients, config.RecipientsFile)
		if !ok || skip(d.Name) {
			continue
		}
		if _, err := read(path, d.Name); err != nil {
			errs = append(errs, fmt.Errorf("domain[%d].recipients: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Lists holds the last valid lists. The zero Lists is empty. It is safe for concurrent use.
type Lists struct {
	mu   sync.Mutex
	last map[list]*policy.Recipients
}

// list identifies a list of recipients: the same file may serve several domains.
type list struct{ path, domain string }

// Read reads the recipients of every domain. An unreadable list affects only its own domain:
// the previous list stays in force, and without one the domain's mail is deferred. problems are by
// domain.
func (l *Lists) Read(c *config.Config) (domains *policy.Domains, problems map[string]error) {
	l.mu.Lock()
	defer l.mu.Unlock()
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
		recipients, err := read(path, d.Name)
		if err != nil {
			recipients = l.last[at]
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
	l.last = lists
	return policy.NewDomains(all), problems
}

// maxFile bounds a list, in bytes. A million long addresses need less.
const maxFile = 256 << 20

// read reads one list. It never blocks on a FIFO without a writer.
func read(path, domain string) (*policy.Recipients, error) {
	data, err := service.ReadFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	return policy.ParseRecipients(path, data, domain)
}
