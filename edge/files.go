package edge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"anymx/edge/config"
	"anymx/edge/policy"
)

// watchEvery is how often files are looked at. A look is one stat for each
// file: it needs no notification that a bind mount, a symbolic link or a
// network file system would not send.
const watchEvery = 2 * time.Second

// stamp tells one version of a file from another. The zero stamp is "not
// there".
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	s := stamp{modified: info.ModTime(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// stamps looks at all of paths.
func stamps(paths []string) map[string]stamp {
	seen := make(map[string]stamp, len(paths))
	for _, path := range paths {
		seen[path] = stampOf(path)
	}
	return seen
}

// watchFiles calls changed whenever one of the files that paths names is not
// what it was, until ctx ends. paths is asked anew at each look.
func watchFiles(ctx context.Context, paths func() []string, changed func()) {
	seen := stamps(paths())
	tick := time.NewTicker(watchEvery)
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
