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

// Node is what a Server shows and changes. Its methods are called from many
// goroutines; they end early, with its error, when ctx does. An error may be
// or wrap an *Error, which chooses the code that is sent.
type Node interface {
	// Status is cheap: it waits for no disk and no network. Ready stays zero.
	Status(ctx context.Context) api.Status
	// Ready is nil if the node can accept and store mail now, which it finds
	// out by writing to the disk. Its error is shown to people as the reason.
	Ready(ctx context.Context) error
	// Reload reads config, certificates and lists again. If anything is wrong
	// it changes nothing; a *config.Errors is sent with its problems.
	Reload(ctx context.Context) (api.Reloaded, error)
	// List gives one page: messages for which q.Match is true, by arrival, from
	// behind q.After on, at most q.Limit of them, which is 1 to MaxPage. It may
	// return early, with Next set, so that no request takes long.
	List(ctx context.Context, q api.QueueQuery) (api.QueuePage, error)
	// Show tells all of one message, or ErrNotFound.
	Show(ctx context.Context, id mail.ID) (api.QueueDetail, error)
	// Change acts on up to MaxPage messages; reason goes with Hold. What could
	// be done is done: the error is for the ids that the Outcome does not name.
	Change(ctx context.Context, a api.Action, ids []mail.ID, reason string) (api.Outcome, error)
	// CheckSpool says what is in the spool, and whether it is sound. It changes nothing.
	CheckSpool(ctx context.Context) (api.SpoolReport, error)
	// SetSpoolAside moves a spool that was not opened, or the orphans of one that was, to a folder
	// beside it, and returns its path. Nothing is deleted.
	SetSpoolAside(ctx context.Context) (to string, err error)
	// ExportSpool writes the messages of what was set aside, and of a spool that was not opened, to
	// folders beside the spool. each is called after each message. What was exported before is not
	// exported again. It goes on when nobody listens any more.
	ExportSpool(ctx context.Context, each func(api.SpoolMessage)) (api.SpoolExport, error)
	// Drain begins to take the node out of service, and returns once that is on
	// disk, unless r.Until says that it need not be; Status tells how far it is. A
	// drain under way goes on, hurried if
	// r.Now; a node that is drained stays so. One that is about to end refuses.
	Drain(ctx context.Context, r api.DrainRequest) error
	// SelfTest takes a message through each listener and the spool, whatever the
	// phase, and errs for those that it did not get through.
	SelfTest(ctx context.Context) (api.SelfTest, error)
	// Resume takes the node back into service, from a drain under way too, and
	// returns once that is on disk. One that is in service stays so.
	Resume(ctx context.Context) error
}

// Options is what a Server needs.
type Options struct {
	Node    Node
	Gather  prometheus.Gatherer   // served at /metrics; nil: prometheus has nothing to show
	Metrics prometheus.Registerer // for the server's own metrics; nil: none
	Log     *slog.Logger          // nil: nothing is logged
	// MaxConnections is how many connections each listener keeps open; more
	// are closed at once. 0 means 64.
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

// New makes a Server. It fails only if its metrics are registered already.
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
