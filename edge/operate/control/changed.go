package control

import (
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// maxRefusal bounds Refusal.Reason, in characters.
const maxRefusal = 300

// newChanged builds the result for ids, whose messages before the change are in items. err is the
// error that the node returned with the outcome. With all, the ids were not named by the client, so
// those that have left the queue meanwhile are not reported as missing.
func newChanged(ids []mail.ID, items map[mail.ID]api.QueueItem, o api.Outcome, err error, all bool) api.Changed {
	c := api.Changed{Messages: []api.QueueItem{}, Pending: []api.QueueItem{}, Refused: []api.Refusal{}}
	told := map[mail.ID]bool{}
	for _, id := range o.Done {
		c.Messages = append(c.Messages, itemOf(id, items))
		told[id] = true
	}
	for _, id := range o.Pending {
		c.Pending = append(c.Pending, itemOf(id, items))
		told[id] = true
	}
	for _, id := range o.Missing {
		if !all {
			c.Refused = append(c.Refused, api.Refusal{ID: id, Code: api.NotFound, Reason: api.ErrNotFound.Text})
		}
		told[id] = true
	}
	for _, id := range ids {
		if !told[id] && err != nil {
			e := asError(err) // may cover several failed ids
			c.Refused = append(c.Refused, api.Refusal{ID: id, Code: e.Code, Reason: words.Cut(words.Clean(e.Text), maxRefusal)})
			told[id] = true
		}
	}
	return c
}

func itemOf(id mail.ID, items map[mail.ID]api.QueueItem) api.QueueItem {
	if item, ok := items[id]; ok {
		return item
	}
	return api.QueueItem{ID: id, Arrived: id.Time()} // it could not be read
}
