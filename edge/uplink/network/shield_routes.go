package network

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/refusal"
)

// How many prefixes of a kind an answer shows.
const (
	standardTop = 20
	maxTop      = 1000
)

// shieldLists is the response to GET /v1/shield/lists.
type shieldLists struct {
	Entries []api.ShieldEntry `json:"entries"`
}

// unlistRequest and unlisted are POST /v1/shield/unlist and its response.
type (
	unlistRequest struct {
		Prefix netip.Prefix `json:"prefix"`
	}
	unlisted struct {
		Removed bool `json:"removed"`
	}
)

// errNoShield is the response to all of it on a node without a shield.
var errNoShield = refusal.NotFound.Errorf("this node has no shield: its config has no [shield] section")

// shieldRoutes adds the shield's routes to e.
func (n *network) shieldRoutes(e *control.Endpoint) {
	handle := func(pattern string, do func(*http.Request) (any, error)) {
		e.Handle(pattern, func(r *http.Request) (any, error) {
			if n.shield == nil {
				return nil, errNoShield
			}
			return do(r)
		})
	}
	handle("GET /v1/shield/top", func(r *http.Request) (any, error) {
		most, err := topOf(r.FormValue("n"))
		if err != nil {
			return nil, refusal.Invalid.Wrap(err)
		}
		return n.shield.top(most)
	})
	handle("GET /v1/shield/lists", func(*http.Request) (any, error) {
		return shieldLists{n.shield.entries()}, nil
	})
	handle("POST /v1/shield/list", func(r *http.Request) (any, error) {
		var entry api.ShieldEntry
		if err := control.ReadJSON(r, &entry); err != nil {
			return nil, err
		}
		done, err := n.shield.list(entry)
		e.Audit(r, err, "action", "shield list", "prefix", entry.Prefix, "allowed", entry.Allowed, "until", forever(entry.Until), "reason", entry.Reason)
		return done, err
	})
	handle("POST /v1/shield/unlist", func(r *http.Request) (any, error) {
		var asked unlistRequest
		if err := control.ReadJSON(r, &asked); err != nil {
			return nil, err
		}
		removed, err := n.shield.unlist(asked.Prefix)
		e.Audit(r, err, "action", "shield unlist", "prefix", asked.Prefix, "removed", removed)
		return unlisted{removed}, err
	})
	handle("POST /v1/shield/mode", func(r *http.Request) (any, error) {
		var asked api.ShieldMode
		if err := control.ReadJSON(r, &asked); err != nil {
			return nil, err
		}
		err := n.shield.setMode(asked.Mode)
		e.Audit(r, err, "action", "shield mode", "mode", asked.Mode)
		return n.status(), err
	})
}

// forever formats the expiry of a listed prefix for a log line.
func forever(until time.Time) string {
	if until.IsZero() {
		return "never"
	}
	return until.UTC().Format(time.RFC3339)
}

// topOf parses the requested number of prefixes.
func topOf(text string) (int, error) {
	if text == "" {
		return standardTop, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxTop {
		return 0, fmt.Errorf("n must be a number from 1 to %d", maxTop)
	}
	return n, nil
}
