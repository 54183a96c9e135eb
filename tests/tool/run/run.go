package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ports are the loopback ports of one run.
type ports struct{ smtp, core, metrics port }

// demo is one run: a node and a core.
type demo struct {
	options
	screen *screen
	state  *state
	ports  ports
	store  *store
	config string // file
	core   *program
	edge   *program
}

// How long the programs may take to stop.
const (
	edgeStop = 45 * time.Second
	coreStop = 15 * time.Second
)

// run starts the programs, sends the messages, and stops the programs again. It returns nil if all
// messages arrived as they were sent and the programs stopped cleanly.
func run(ctx context.Context, s *screen, o options) (err error) {
	st, err := openState(o.state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	d := &demo{options: o, screen: s, state: st, store: &store{dir: filepath.Join(o.state, "core", "mail")}}

	s.title("anymx: an edge and a core on this machine")
	if err := d.prepare(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.start(ctx); err != nil {
		return quietly(ctx, err)
	}
	if err := d.send(ctx); err != nil {
		return quietly(ctx, err)
	}
	if o.once {
		return nil
	}
	d.showNext(ctx)
	return d.watch(ctx)
}

// quietly drops an error that comes from a Ctrl-C.
func quietly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// prepare finds ports and writes certificate and config.
func (d *demo) prepare() error {
	d.ports = ports{port{name: "smtp", want: 8025}, port{name: "core", want: 2525}, port{name: "metrics", want: 9925}}
	for _, p := range []*port{&d.ports.smtp, &d.ports.core, &d.ports.metrics} {
		if d.anyPort {
			p.want = 0
		}
		if err := p.find(d.screen); err != nil {
			return err
		}
	}
	made, err := d.state.certify(time.Now())
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if d.config, err = d.state.configure(d.ports); err != nil {
		return err
	}
	stored, err := d.store.count()
	if err != nil {
		return err
	}
	if made && stored == 0 {
		d.screen.row("state", "%s (new, with a throw-away certificate)", d.screen.path(d.state.dir))
	} else {
		d.screen.row("state", "%s (from an earlier run, %d messages stored)", d.screen.path(d.state.dir), stored)
	}
	return nil
}

// start starts core and, when core is ready, the edge.
func (d *demo) start(ctx context.Context) error {
	var err error
	if d.core, err = startProgram(d.options, "anymx-core", d.config); err != nil {
		return err
	}
	if err := d.core.wait(ctx, greets(d.ports.core.address())); err != nil {
		return err
	}
	d.screen.row("anymx-core", "ready on %s, process %d", d.ports.core.address(), d.core.PID())
	if d.edge, err = startProgram(d.options, "anymx-edge", d.config); err != nil {
		return err
	}
	if err := d.edge.wait(ctx, answers(d.url("/readyz"))); err != nil {
		return err
	}
	d.screen.row("anymx-edge", "ready on %s, process %d", d.ports.smtp.address(), d.edge.PID())
	return nil
}

func (d *demo) url(path string) string { return "http://" + d.ports.metrics.address() + path }

// send sends the messages one after the other and waits for each to arrive in core.
func (d *demo) send(ctx context.Context) error {
	list := messages(time.Now())
	d.screen.title("Sending %d messages to %s", len(list), d.ports.smtp.address())
	to := endpoint{
		host: "127.0.0.1", port: strconv.Itoa(d.ports.smtp.got), ca: d.state.file("cert.pem"), home: d.state.file("sent"),
	}
	failed := 0
	for _, m := range list {
		if err := d.sendOne(ctx, to, m); err != nil {
			if ctx.Err() != nil {
				return err
			}
			failed++
			d.screen.row(m.kind, "%s %v", d.screen.bad(), err)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d messages did not arrive; see the logs %s and %s", failed, len(list), d.edge.Log, d.core.Log)
	}
	d.screen.row("", "%d of %d arrived, byte for byte as sent", len(list), len(list))
	return nil
}

func (d *demo) sendOne(ctx context.Context, to endpoint, m message) error {
	c, err := choose(d.client, m.needs)
	if err != nil {
		return err
	}
	file := d.state.file(filepath.Join("sent", strings.ReplaceAll(m.kind, " ", "-")+".eml"))
	if err := os.WriteFile(file, m.data, 0o600); err != nil {
		return err
	}
	reply, err := c.send(ctx, to, m, file)
	if err != nil {
		return err
	}
	d.screen.row(m.kind, "%q, %s, sent by %s", m.subject, size(len(m.data)), c.name)
	d.screen.row("", "reply    %s", reply)
	id := spoolID(reply)
	if id == "" {
		return errors.New("the reply has no spool id")
	}
	stored, err := d.store.arrive(ctx, id, m)
	if err != nil {
		return err
	}
	d.screen.row("", "%s       %s", d.screen.good(), d.screen.path(stored))
	return nil
}

// showNext prints the edge's status and what the operator can try next.
func (d *demo) showNext(ctx context.Context) {
	s, smtp := d.screen, strconv.Itoa(d.ports.smtp.got)
	s.title("Status of the edge")
	cli := exec.CommandContext(ctx, filepath.Join(d.bin, "anymx"), "--control", d.state.socket, "status")
	text, err := cli.CombinedOutput()
	s.block(string(text))
	if err != nil && ctx.Err() == nil {
		s.row("status", "%s %v", s.bad(), err)
	}
	s.title("Try it")
	s.row("send", "swaks --server 127.0.0.1 --port %s --from me@example.org --to you@example.net", smtp)
	s.row("or", "printf 'Subject: hello\\n\\nhello\\n' | curl smtp://127.0.0.1:%s --mail-from me@example.org --mail-rcpt you@example.net -T - --crlf", smtp)
	s.row("arrives in", "%s/", s.path(filepath.Join(d.store.dir, "example.net", "you", "new")))
	s.row("status", "%s", d.url("/"))
	s.row("metrics", "%s", d.url("/metrics"))
	s.row("health", "%s %s", d.url("/healthz"), d.url("/readyz"))
	s.row("command", "%s --control %s queue list", s.path(filepath.Join(d.bin, "anymx")), s.path(d.state.socket))
	s.row("config", "%s", s.path(d.config))
	s.row("logs", "%s %s", s.path(d.edge.Log), s.path(d.core.Log))
	s.title("Running; Ctrl-C stops everything")
}

// watch prints mail that arrives until ctx ends. It returns an error if a program ends before.
func (d *demo) watch(ctx context.Context) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.edge.Done():
			return d.edge.ended()
		case <-d.core.Done():
			return d.core.ended()
		case <-tick.C:
		}
		fresh, err := d.store.look()
		if err != nil {
			return err
		}
		for _, name := range fresh {
			d.screen.row("arrived", "%s %s", d.screen.path(name), subject(name))
		}
	}
}

// stop stops the edge and then core, so that core accepts what the edge still hands over. Another
// Ctrl-C kills them.
func (d *demo) stop() error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var errs []error
	for _, p := range []struct {
		program *program
		limit   time.Duration
	}{{d.edge, edgeStop}, {d.core, coreStop}} {
		if p.program == nil {
			continue
		}
		if err := p.program.stop(ctx, p.limit); err != nil {
			errs = append(errs, err)
		}
	}
	stored, err := d.store.count()
	if err == nil && d.edge != nil {
		fmt.Fprintf(d.screen.out, "\nStopped; %d messages are stored\n", stored)
	}
	return errors.Join(append(errs, err)...)
}
