package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"anymx/edge/operate/api"
	"anymx/tests/lab"
)

// routesJob is what -run matches for the job that measures how routes leave a
// router. It has a section of its own in the document.
const routesJob = "routes"

const (
	routesBegin = "<!-- routes: begin, written by make bench -->"
	routesEnd   = "<!-- routes: end -->"
)

// routesReport is the result of the job.
type routesReport struct {
	started, ended time.Time
	machine        []string
	// From a withdrawal to the router's kernel without the routes: by BIRD's socket,
	// by birdc, and by the speaker's socket.
	bird, birdc, anymx []time.Duration
	killed             []time.Duration // from kill -9 of anymx-edge to the same
	drain              time.Duration   // of the command
	ledger             lab.Ledger
	account            lab.Account
}

// runRoutes brings up the lab and measures how fast routes leave the router. Beside PoP a, a BIRD
// announces prefixes of its own over the same kind of link and sessions to the same router. runRoutes
// removes the lab at the end.
func runRoutes(ctx context.Context, opts options, progress io.Writer) (text string, err error) {
	if os.Geteuid() != 0 {
		return "", errors.New("needs root for network namespaces")
	}
	// The time is read when the kernel reports a change: nothing may delay that, and the speakers are
	// idle most of the time.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	dir, err := filepath.Abs(opts.dir)
	if err != nil {
		return "", err
	}
	r := &routesReport{started: time.Now(), machine: describeMachine(dir)}
	l, err := lab.Up(ctx, lab.Options{Bin: filepath.Dir(opts.anymx), Beside: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Down(context.WithoutCancel(ctx))) }()
	if err := l.A.Start(ctx); err != nil {
		return "", err
	}
	for _, w := range []way{ownWay, birdWay} {
		if err := w.back(ctx, l); err != nil {
			return "", err
		}
	}
	rounds, kills := 100, 20
	if opts.short {
		rounds, kills = 20, 3
	}
	if err := r.withdraw(ctx, l, rounds); err != nil {
		return "", err
	}
	fmt.Fprintf(progress, "routes: %d withdrawals of each\n", rounds)
	for range kills {
		took, err := killEdge(ctx, l)
		if err != nil {
			return "", err
		}
		r.killed = append(r.killed, took)
	}
	fmt.Fprintf(progress, "routes: %d kills\n", kills)
	if err := r.drainUnderLoad(ctx, l); err != nil {
		return "", err
	}
	fmt.Fprintln(progress, "routes: drain under load")
	r.ended = time.Now()
	return r.markdown(), nil
}

// way is how r1 reaches an IPv4 and an IPv6 prefix: prefixes by gateways.
type way map[string]string

var (
	ownWay  = way{lab.Prefix4: lab.A4, lab.Prefix6: lab.A6}
	birdWay = way{lab.Beside4: lab.BesideGateway4, lab.Beside6: lab.BesideGateway6}
)

// left waits until r1's kernel uses this way for neither prefix and returns the time since began.
func (w way) left(ctx context.Context, l *lab.Lab, began time.Time) (took time.Duration, err error) {
	for prefix, gateway := range w {
		at, err := l.R1.Routes.AwaitLeft(ctx, prefix, gateway, began, 20*time.Second)
		if err != nil {
			return 0, err
		}
		took = max(took, at.Sub(began))
	}
	return took, nil
}

// back waits until r1's kernel uses this way for both prefixes.
func (w way) back(ctx context.Context, l *lab.Lab) error {
	for prefix, gateway := range w {
		if _, err := l.R1.Routes.Await(ctx, prefix, gateway, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// withdraw measures withdrawals, alternately of BIRD and anymx.
func (r *routesReport) withdraw(ctx context.Context, l *lab.Lab, rounds int) error {
	session, err := l.Beside.Session()
	if err != nil {
		return err
	}
	defer session.Close()
	bird := func(command string) func() error {
		return func() error { _, err := session.Ask(command); return err }
	}
	orders, err := dialOrders(l.A)
	if err != nil {
		return err
	}
	defer orders.conn.Close()
	birdc := func(command string) func() error {
		return func() error { return l.Beside.Birdc(ctx, command) }
	}
	order := func(routes api.Routes) func() error {
		return func() error { return orders.send(routes) }
	}
	for range rounds {
		for _, turn := range []struct {
			into            *[]time.Duration
			way             way
			withdraw, again func() error
		}{
			{&r.bird, birdWay, bird("disable \"static*\""), bird("enable \"static*\"")},
			{&r.birdc, birdWay, birdc("disable \"static*\""), birdc("enable \"static*\"")},
			{&r.anymx, ownWay, order(api.Withdrawn), order(api.Announced)},
		} {
			// The last message has to be acknowledged before the next one, or BIRD waits because of
			// Nagle's algorithm.
			time.Sleep(60 * time.Millisecond)
			began := time.Now()
			if err := turn.withdraw(); err != nil {
				return err
			}
			took, err := turn.way.left(ctx, l, began)
			if err != nil {
				return err
			}
			*turn.into = append(*turn.into, took)
			if err := turn.again(); err != nil {
				return err
			}
			if err := turn.way.back(ctx, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// orders is a connection to a speaker's control socket over which one order is
// sent after the other, as bare as BIRD's.
type orders struct {
	conn net.Conn
	r    *bufio.Reader
}

func dialOrders(n *lab.Node) (*orders, error) {
	conn, err := net.Dial("unix", filepath.Join(n.Dir, "run", "bgp.sock"))
	if err != nil {
		return nil, err
	}
	return &orders{conn: conn, r: bufio.NewReader(conn)}, nil
}

// send sends an order and waits for the answer.
func (o *orders) send(routes api.Routes) error {
	body := fmt.Sprintf(`{"routes":%q,"reason":"benchmark"}`, routes)
	if _, err := fmt.Fprintf(o.conn, "POST /v1/desired HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		len(body), body); err != nil {
		return err
	}
	reply, err := http.ReadResponse(o.r, nil)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err == nil && reply.StatusCode != http.StatusOK {
		err = fmt.Errorf("order %s: %s: %s", routes, reply.Status, text)
	}
	return err
}

// killEdge measures one crash of the mail program, at a random moment between two health checks, and
// restarts it.
func killEdge(ctx context.Context, l *lab.Lab) (time.Duration, error) {
	time.Sleep(rand.N(400 * time.Millisecond))
	began := time.Now()
	l.A.Program(lab.Edge).Kill()
	took, err := ownWay.left(ctx, l, began)
	if err != nil {
		return 0, err
	}
	if err := l.A.Start(ctx); err != nil {
		return 0, err
	}
	return took, ownWay.back(ctx, l)
}

// drainUnderLoad drains PoP a while a hundred sessions send. PoP b takes over.
func (r *routesReport) drainUnderLoad(ctx context.Context, l *lab.Lab) error {
	if err := l.B.Start(ctx); err != nil {
		return err
	}
	if _, err := l.R2.Routes.Await(ctx, lab.Prefix4, lab.B4, time.Minute); err != nil {
		return err
	}
	load := l.Send(ctx, lab.Load{Sessions: 100, Each: 20, Pause: 100 * time.Millisecond, Recipient: "bench"})
	defer load.Stop()
	if err := load.AwaitMore(ctx, 1000, time.Minute); err != nil {
		return err
	}
	began := time.Now()
	cmd := exec.CommandContext(ctx, filepath.Join(l.A.Bin, "anymx"), "drain", "--wait", "2m", "--reason", "benchmark")
	cmd.Env = lab.Environment(l.A.Bin, l.A.Dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("anymx drain: %w: %s", err, out)
	}
	r.drain = time.Since(began)
	if err := load.AwaitMore(ctx, 500, time.Minute); err != nil {
		return err
	}
	var err error
	if r.ledger, err = load.Stop(); err != nil {
		return err
	}
	r.account, err = l.AwaitDelivery(ctx, r.ledger, "bench", time.Minute)
	return err
}

// markdown is the section of the document.
func (r *routesReport) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured %s in %s, in the lab (see drain.md): network namespaces, BIRD as the router.\n\n",
		r.started.UTC().Format("2006-01-02 15:04 MST"), r.ended.Sub(r.started).Round(time.Second))
	for _, line := range r.machine {
		fmt.Fprintf(&out, "- %s\n", line)
	}
	fmt.Fprintf(&out, "- measured from the request until the router's kernel has neither the IPv4 nor the IPv6 route. The request is a withdrawal on the speaker's socket, and "+
		"`disable` of static routes by `birdc` and on the control socket of a BIRD with the same kind of link and sessions; %d rounds of each, alternately\n", len(r.anymx))
	fmt.Fprint(&out, "\n| withdrawal, ms | BIRD, its socket | BIRD, `birdc` | anymx | to BIRD's socket | to `birdc` | to reach | reached |\n|---|---:|---:|---:|---|---|---|---|\n")
	for _, p := range []float64{0.5, 0.99} {
		socket, birdc, own := milliseconds(r.bird, p), milliseconds(r.birdc, p), milliseconds(r.anymx, p)
		fmt.Fprintf(&out, "| p%.0f | %s | %s | %s | %s | %s | not slower than `birdc` | %s |\n", p*100, figure(socket), figure(birdc), figure(own),
			ratioText(own/socket, false), ratioText(own/birdc, false), pick(own <= birdc, "yes", "no"))
	}
	fmt.Fprint(&out, "\n| `kill -9` of anymx-edge until the routes are gone, ms | anymx | to reach | reached |\n|---|---:|---|---|\n")
	for _, p := range []float64{0.5, 0.99} {
		own := milliseconds(r.killed, p)
		fmt.Fprintf(&out, "| p%.0f of %d | %s | ≤ 1000 | %s |\n", p*100, len(r.killed), figure(own), pick(own <= 1000, "yes", "no"))
	}
	fmt.Fprintf(&out, "\nA drain with 100 sending sessions took %s: %d messages acknowledged in %s, %d lost, %d duplicated. Clients repeated %d transactions after a lost "+
		"connection and %d after a 421. The longest time of a session without an acknowledgement was %s, the mean of each session's longest %s.\n",
		r.drain.Round(100*time.Millisecond), r.account.Acknowledged, r.ledger.Took.Round(100*time.Millisecond), len(r.account.Lost), len(r.account.Doubled),
		r.ledger.Repeated, r.ledger.SentAway, r.ledger.Gap.Round(time.Millisecond), r.ledger.MeanGap.Round(time.Millisecond))
	return out.String()
}

// milliseconds returns a percentile in ms.
func milliseconds(all []time.Duration, p float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return percentile(sorted, p).Seconds() * 1000
}
