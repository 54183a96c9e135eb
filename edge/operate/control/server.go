package control

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
)

// Node is what a Server shows and changes. Its methods are called concurrently; when ctx ends they
// return early with its error. An error may be or wrap a *refusal.Error, whose kind chooses the code
// that is sent.
type Node interface {
	// Status is cheap: it never waits for disk or network. Ready stays zero.
	Status(ctx context.Context) api.Status
	// Ready returns nil if the node can accept and store mail now, which it tests by a write to the
	// disk. Its error is shown to people as the reason.
	Ready(ctx context.Context) error
	// Reload reads config, certificates and lists again. On any error it changes nothing; a
	// *config.Errors is sent with its problems.
	Reload(ctx context.Context) (api.Reloaded, error)
	// List returns one page: messages for which q.Match is true, by arrival, after q.After, at most
	// q.Limit of them, which is 1 to MaxPage. It may return early, with Next set, so that no
	// request takes long.
	List(ctx context.Context, q api.QueueQuery) (api.QueuePage, error)
	// Summary returns what is in the queue by destination, at most limit of them, which is 1 to MaxRows.
	Summary(ctx context.Context, limit int) (api.QueueSummary, error)
	// Show returns all about one message, or ErrNotFound.
	Show(ctx context.Context, id mail.ID) (api.QueueDetail, error)
	// Change acts on up to MaxPage messages; reason is for Hold. It does what it can: the error is
	// for the ids that the Outcome does not name.
	Change(ctx context.Context, a api.Action, ids []mail.ID, reason string) (api.Outcome, error)
	// CheckSpool reports what is in the spool, and whether it is sound. It changes nothing.
	CheckSpool(ctx context.Context) (api.SpoolReport, error)
	// SetSpoolAside moves a spool that was not opened, or the orphans of one that was, to a folder
	// beside it, and returns the folder's path. It deletes nothing.
	SetSpoolAside(ctx context.Context) (to string, err error)
	// ExportSpool writes the messages of what was set aside, and of a spool that was not opened, to
	// folders beside the spool. each is called after each message. Messages exported before are not
	// exported again. The export continues after its client is gone.
	ExportSpool(ctx context.Context, each func(api.SpoolMessage)) (api.SpoolExport, error)
	// Drain begins to take the node out of service, and returns once that is on disk, unless
	// r.Until makes that unnecessary; Status has the progress. A drain under way continues, faster
	// if r.Now; a drained node stays drained. A node that is about to stop refuses.
	Drain(ctx context.Context, r api.DrainRequest) error
	// SelfTest sends a message through each listener and the spool, in any phase, and returns an
	// error for each listener that fails.
	SelfTest(ctx context.Context) (api.SelfTest, error)
	// Resume takes the node back into service, even during a drain, and returns once that is on
	// disk. A node in service stays so.
	Resume(ctx context.Context) error
}

// Options configures a Server.
type Options struct {
	Node    Node
	Gather  prometheus.Gatherer   // served at /metrics; nil: no metrics
	Metrics prometheus.Registerer // registers the server's own metrics; nil: they are not exported
	Log     *slog.Logger          // nil: nothing is logged
	// MaxConnections limits the open connections of each listener; more are closed at once. 0 means
	// 64.
	MaxConnections int
	Now            func() time.Time // of the status page; nil means time.Now
}

// Server is the Endpoint of a node.
type Server struct {
	node     Node
	now      func() time.Time
	log      *slog.Logger
	endpoint *Endpoint
}

// New returns a Server. It fails only if its metrics are registered already.
func New(o Options) (*Server, error) {
	e, err := NewEndpoint(EndpointOptions{
		Gather: o.Gather, Metrics: o.Metrics, Log: o.Log, MaxConnections: o.MaxConnections, Ready: o.Node.Ready,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{node: o.Node, now: o.Now, log: e.log, endpoint: e}
	if s.now == nil {
		s.now = time.Now
	}
	s.addRoutes()
	return s, nil
}

// Serve answers on the control socket and, unless it is nil, on the TCP
// listener for metrics, until ctx ends, as Endpoint.Serve does. A Server serves
// once.
func (s *Server) Serve(ctx context.Context, control, metrics net.Listener) error {
	return s.endpoint.Serve(ctx, control, metrics)
}
