package edge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"anymx/edge/config"
	"anymx/edge/policy"
	"anymx/edge/program"
)

// stamps looks at all of paths.
func stamps(paths []string) map[string]program.Stamp {
	seen := make(map[string]program.Stamp, len(paths))
	for _, path := range paths {
		seen[path] = program.StampOf(path)
	}
	return seen
}

// watchFiles calls changed whenever one of the files that paths names is not
// what it was, until ctx ends. paths is asked anew at each look.
func watchFiles(ctx context.Context, paths func() []string, changed func()) {
	seen := stamps(paths())
	tick := time.NewTicker(program.WatchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := stamps(paths())
		for path, s := range now {
			if old, known := seen[path]; known && old != s {
				changed()
				break
			}
		}
		seen = now
	}
}

// filesOf are the files beside the config that can change while a node runs.
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

// loadDomains reads the recipients of every domain. One bad file fails it all:
// a change is taken whole or not at all.
func loadDomains(c *config.Config) (*policy.Domains, error) {
	var list []policy.Domain
	var problems []error
	for _, d := range c.Domains {
		path, ok := strings.CutPrefix(d.Recipients, config.RecipientsFile)
		if !ok {
			list = append(list, policy.Domain{Name: d.Name})
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			problems = append(problems, fmt.Errorf("recipients of %s: %w", d.Name, err))
			continue
		}
		recipients, err := policy.ParseRecipients(path, data, d.Name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		list = append(list, policy.Domain{Name: d.Name, Recipients: recipients})
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return policy.NewDomains(list), nil
}
