package edge

import (
	"context"
	"errors"
	"os"
	"strings"

	"anymx/edge/delivery/handoff"
	"anymx/edge/delivery/routing"
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/queue"
	"anymx/edge/spool"
	"anymx/edge/spool/salvage"
)

// This file makes a Node answer the control socket, in the types of package api.
var _ control.Node = (*Node)(nil)

// Status returns the current state of the node.
func (n *Node) Status(context.Context) api.Status {
	c := n.reloader.Config()
	phase, since := n.drain.Phase()
	s := api.Status{
		Name: c.Node.Name, Region: c.Node.Region, Hostname: c.Node.Hostname, PID: os.Getpid(),
		Phase: phase, Since: since, Started: n.started,
		Sessions: api.SessionsStatus{Open: n.ingress.Registry().Open(), Limit: c.Ingress.MaxConnections},
		Spool:    n.spoolStatus(), Queue: n.queueStatus(), Core: n.coreStatus(),
		Config: n.reloader.Status(),
		Drain:  n.drain.Status(), Network: n.network.Last(), Clock: n.options.Clock.Status(), Degraded: n.degraded.List(),
	}
	if n.speaker != nil {
		s.Speaker = n.speaker.Last()
	}
	if leaf := n.certificate.Leaf(); leaf != nil && c.Ingress.TLSCert != "" {
		names := leaf.DNSNames
		if len(names) == 0 {
			names = []string{leaf.Subject.CommonName}
		}
		s.TLS = &api.TLSStatus{Names: names, NotAfter: leaf.NotAfter, Problem: n.certificate.Problem()}
	}
	return s
}

func (n *Node) spoolStatus() api.SpoolStatus {
	s := n.spool.Stats()
	return api.SpoolStatus{
		Messages: s.Messages, Bytes: s.Bytes, MaxMessages: s.MaxMessages, HighWater: s.HighWater,
		DiskFree: s.DiskFree, DiskReserve: s.DiskReserve, Accepting: s.Refusing == "", Reason: s.Refusing,
		Problem: s.Attention, Damaged: s.Damaged, Orphans: s.Orphans, OrphanBytes: s.OrphanBytes, UnknownFiles: s.UnknownFiles,
	}
}

// CheckSpool checks the spool's folders.
func (n *Node) CheckSpool(context.Context) (api.SpoolReport, error) {
	return salvage.Report(n.spool)
}

// SetSpoolAside moves the orphans away.
func (n *Node) SetSpoolAside(context.Context) (string, error) {
	to, err := n.spool.SetAside()
	if err == nil {
		n.log.Warn("the spool's orphans were set aside", "to", to)
	}
	return to, err
}

// ExportSpool exports what was set aside, to folders beside the spool.
func (n *Node) ExportSpool(_ context.Context, each func(api.SpoolMessage)) (api.SpoolExport, error) {
	if !n.exporting.TryLock() {
		return api.SpoolExport{}, salvage.ErrBusy
	}
	defer n.exporting.Unlock()
	c := n.reloader.Config()
	return salvage.ExportAside(spoolDir(c), false, int64(c.Spool.DiskReserve), each)
}

func (n *Node) queueStatus() api.QueueStatus {
	s := n.queue.Stats()
	q := api.QueueStatus{Active: int64(s.Active), Waiting: int64(s.Waiting), Held: int64(s.Held), Oldest: s.Oldest}
	for _, p := range s.Paused {
		q.Paused = append(q.Paused, api.PauseStatus{Destination: p.Destination, Legs: int64(p.Legs), Since: p.Since, Until: p.Until, Cause: p.Cause.Error()})
	}
	return q
}

func (n *Node) coreStatus() []api.CoreStatus {
	var list []api.CoreStatus
	for _, g := range n.courier.Status() {
		for i := range g.Addresses {
			list = append(list, addressStatus(g.Name, &g.Addresses[i]))
		}
	}
	return list
}

func addressStatus(group string, a *handoff.AddressStatus) api.CoreStatus {
	s := api.CoreStatus{
		Group: group, Address: a.Address, Health: api.Health(a.Health), Connections: a.Connections, Limit: a.Limit,
		RetryAt: a.RetryAt, LastError: a.LastError, Delivered: a.Delivered,
	}
	if a.Learned {
		s.Extensions = append([]string{}, a.Extensions.Keywords()...)
	}
	if p := &a.Probe; !p.At.IsZero() {
		s.Probe = &api.ProbeStatus{At: p.At, Size: p.Size, Took: api.Seconds(p.Took), Problem: p.Problem}
	}
	return s
}

// Drain begins to take the node out of service.
func (n *Node) Drain(_ context.Context, r api.DrainRequest) error {
	return n.drain.Request(r)
}

// SelfTest runs the self-test.
func (n *Node) SelfTest(ctx context.Context) (api.SelfTest, error) { return n.selfTest.Run(ctx) }

// Resume takes the node back into service.
func (n *Node) Resume(context.Context) error { return n.drain.Resume() }

// List returns a page of the queue.
func (n *Node) List(ctx context.Context, q api.QueueQuery) (api.QueuePage, error) {
	items, next, err := n.queue.List(ctx, queue.Filter{
		Status: queue.Status(q.State), Destination: destination(q.Destination), After: q.After, Limit: q.Limit,
		Match: func(i *queue.Item) bool {
			item := queueItem(i)
			return q.Match(&item, func() []mail.Path { return paths(i) })
		},
	})
	page := api.QueuePage{Next: next}
	for i := range items {
		page.Items = append(page.Items, queueItem(&items[i]))
	}
	return page, err
}

// destination returns the destination that a query names; nil: any.
func destination(name string) *string {
	switch name {
	case "":
		return nil
	case api.DefaultCore:
		name = routing.Core
	}
	return &name
}

// Summary returns what is in the queue by destination.
func (n *Node) Summary(_ context.Context, limit int) (api.QueueSummary, error) {
	rows, lanes := n.queue.Summary(limit, api.AgeGroups)
	summary := api.QueueSummary{Destinations: lanes}
	for _, r := range rows {
		row := api.SummaryRow{
			Destination: r.Destination, Legs: int64(r.Legs), Active: int64(r.Active), Waiting: int64(r.Waiting), Held: int64(r.Held),
			Bytes: r.Bytes, Oldest: r.Oldest, Next: r.Next, Waits: r.Why,
		}
		for i, n := range r.Ages {
			row.Ages[i] = int64(n)
		}
		summary.Rows = append(summary.Rows, row)
	}
	return summary, nil
}

// paths returns the recipients of a leg.
func paths(i *queue.Item) []mail.Path {
	var list []mail.Path
	for _, n := range legRecipients(i) {
		list = append(list, i.Envelope.Recipients[n].Path)
	}
	return list
}

// legRecipients returns the indexes of a leg's recipients.
func legRecipients(i *queue.Item) []int {
	if i.Recipients != nil {
		return i.Recipients
	}
	all := make([]int, len(i.Envelope.Recipients))
	for n := range all {
		all[n] = n
	}
	return all
}

// recipientState returns the state of the i-th recipient, pending if none is recorded.
func recipientState(st *spool.State, i int) spool.RecipientState {
	if i < len(st.Recipients) {
		return st.Recipients[i]
	}
	return spool.RecipientState{}
}

func queueItem(i *queue.Item) api.QueueItem {
	env := i.Envelope
	item := api.QueueItem{
		ID: env.ID, State: api.State(i.Status), Arrived: env.Arrived, Size: env.Size, Sender: env.Sender,
		Attempts: max(i.State.Attempts, 1), NextAttempt: i.Due, HoldReason: i.State.HoldReason,
		Leg: i.Leg, Destination: i.Destination, Waits: i.Why,
	}
	for _, at := range legRecipients(i) {
		item.Recipients++
		state := recipientState(&i.State, at)
		if state.Status != spool.Pending {
			continue
		}
		if item.Pending == 0 {
			item.Recipient, item.LastFailure = env.Recipients[at].Path, state.Last
		}
		item.Pending++
	}
	return item
}

// Show returns all about one message.
func (n *Node) Show(_ context.Context, id mail.ID) (api.QueueDetail, error) {
	legs, err := n.queue.Show(id)
	if errors.Is(err, spool.ErrNotFound) {
		return api.QueueDetail{}, api.ErrNotFound
	}
	if err != nil {
		return api.QueueDetail{}, err
	}
	i := &legs[0]
	env := i.Envelope
	d := api.QueueDetail{
		QueueItem: queueItem(i), LastAttempt: i.State.LastAttempt, Expires: i.Expires,
		Origin: origins[env.Origin], Body: bodies[env.Body], Return: returns[env.Return], EnvID: env.EnvID,
		SMTPUTF8: env.SMTPUTF8, RequireTLS: env.RequireTLS, NoDSN: env.NoDSN,
		Client: api.ClientDetail{Name: env.Client.Name, Helo: env.Client.Helo, Proto: env.Client.Proto, TLS: env.Client.TLS},
	}
	if d.LastAttempt.IsZero() {
		d.LastAttempt = env.Arrived
	}
	if env.Client.Addr.IsValid() {
		d.Client.Address, d.Client.Service = env.Client.Addr.String(), env.Client.Service.String()
	}
	for _, r := range env.Recipients {
		d.To = append(d.To, api.RecipientDetail{Address: r.Path, Progress: api.Ended, Notify: notifyText(r.Notify), ORcpt: r.ORcpt})
	}
	for i := range legs {
		for _, at := range legRecipients(&legs[i]) {
			state := recipientState(&legs[i].State, at)
			to := &d.To[at]
			to.Progress, to.Last, to.At = api.Progress(state.Status.String()), state.Last, state.At
		}
		if len(legs) > 1 {
			d.Legs = append(d.Legs, queueItem(&legs[i]))
		}
	}
	return d, nil
}

var (
	origins = map[mail.Origin]string{mail.Inbound: "inbound", mail.Outbound: "outbound", mail.Local: "local"}
	bodies  = map[mail.Body]string{mail.Body7Bit: "7BIT", mail.Body8Bit: "8BITMIME"}
	returns = map[mail.Return]string{mail.ReturnUnset: "", mail.ReturnFull: "FULL", mail.ReturnHeaders: "HDRS"}
)

func notifyText(set mail.Notify) string {
	var words []string
	for _, n := range []struct {
		bit  mail.Notify
		word string
	}{
		{mail.NotifyNever, "NEVER"}, {mail.NotifySuccess, "SUCCESS"}, {mail.NotifyFailure, "FAILURE"}, {mail.NotifyDelay, "DELAY"},
	} {
		if set&n.bit != 0 {
			words = append(words, n.word)
		}
	}
	return strings.Join(words, ",")
}

// Change acts on messages of the queue.
func (n *Node) Change(_ context.Context, a api.Action, ids []mail.ID, reason string) (api.Outcome, error) {
	var answer queue.Answer
	var err error
	switch a {
	case api.Flush:
		n.courier.Retry() // the queue asks at once, and so must the courier
		answer = n.queue.Flush(ids...)
	case api.Hold:
		answer, err = n.queue.Hold(reason, ids...)
	case api.Release:
		answer, err = n.queue.Release(ids...)
	case api.Delete:
		answer, err = n.queue.Delete(ids...)
	}
	return api.Outcome(answer), err
}
