package control

import (
	"errors"
	"fmt"
	"strings"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// maxReason bounds the reason that an operator gives, in bytes.
const maxReason = 200

// checkChange reports what is wrong with c as a request for action a.
func checkChange(c *api.Change, a api.Action) error {
	plain := api.QueueQuery{} // all that a query may hold beside ids
	switch {
	case c.All && len(c.IDs) > 0:
		return fmt.Errorf(`give either "ids" or "all"`)
	case !c.All && len(c.IDs) == 0:
		return fmt.Errorf(`give "ids", or "all": true`)
	case !c.All && c.QueueQuery != plain:
		return fmt.Errorf(`state, sender, recipient, before, after and limit go with "all"`)
	case len(c.IDs) > api.MaxPage:
		return fmt.Errorf("%d ids in one request; at most %d", len(c.IDs), api.MaxPage)
	case c.Limit < 0:
		return fmt.Errorf("limit %d is not a number of messages", c.Limit)
	case c.Reason != "" && a != api.Hold:
		return fmt.Errorf("a reason goes with hold alone")
	}
	if err := checkReason(c.Reason); err != nil {
		return err
	}
	_, err := api.ParseState(string(c.State))
	return err
}

// checkReason reports what is wrong with an operator's reason.
func checkReason(reason string) error {
	switch {
	case len(reason) > maxReason:
		return badRequest(fmt.Errorf("the reason is %d bytes long; at most %d", len(reason), maxReason))
	case reason != words.Clean(reason) || strings.TrimSpace(reason) != reason:
		return badRequest(errors.New("the reason must be one line of text without control characters"))
	}
	return nil
}
