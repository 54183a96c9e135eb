package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

// TestDialogues plays the stories in testdata/dialogues. A line of a story is
//
//	# a comment
//	server KEY=VALUE ...   settings, before the first connection; see configure
//	client NAME            switches to another connection, opened at its first use
//	C: BYTES               sent as they stand, with \r \n \t \0 \xHH \\ and {x*N} for
//	                       N times x; C lines in a row go out in one write
//	S: LINE                the server's next line, where * matches anything
//	N x C: or N x S:       the same N times
//	reply CODE             a whole reply, of any number of lines
//	D: BYTES               the next message that was stored, without what we put in front
//	writes N               the server has called write N times since the last "writes"
//	starttls               upgrades the connection; the 220 has been read
//	close, half-close      by the client
//	expect-close           the server closes, and says nothing more
//	ended REASON           why the connection ended that was closed last
//	drain, undrain         SetDraining
//	shutdown               Registry.Close, which must end by itself
//	wait DURATION          the client does nothing
//	open N                 waits until the server has N connections open
//
// At its end nothing may have been stored that no D line told of, and no connection may be open. What
// becomes of a recipient depends on its local part: see special.
func TestDialogues(t *testing.T) {
	kit.EachStory(t, "testdata/dialogues/*.txt", func(text kit.Story) {
		s := &story{Story: text, name: "a", clients: map[string]*client{}, set: dialogueSettings()}
		s.play()
	})
}

const dialogueHost = "mx.test"

func dialogueSettings() Settings {
	set := Settings{
		Rules: &policy.Rules{
			Hostname: dialogueHost, Domains: policy.NewDomains([]policy.Domain{{Name: dialogueHost}}), MaxReceived: 100,
		},
	}
	new(special).addTo(&set.Checks)
	return set
}

// special are checks that judge by the local part of the last recipient.
type special struct{ last sync.Map } // of a client's address

func (sp *special) addTo(checks *policy.Checks) {
	checks.Add(policy.AtRcpt, sp.atRcpt)
	checks.Add(policy.AtHeader, sp.atHeader)
	checks.Add(policy.AtBody, sp.atBody)
}

func refuse(code int, enhanced mail.Enhanced, text string) policy.Verdict {
	return policy.Verdict{Action: policy.Refuse, Reply: mail.Reply{Code: code, Enhanced: enhanced, Text: text}}
}

func (sp *special) atRcpt(_ context.Context, f *policy.Facts) policy.Verdict {
	sp.last.Store(f.Client.Addr, f.Recipient.Local)
	switch f.Recipient.Local {
	case "slow":
		time.Sleep(30 * time.Millisecond)
		fallthrough
	case "refused":
		return refuse(550, mail.Enhanced{5, 1, 1}, "no such user")
	case "bye":
		return refuse(421, mail.Enhanced{4, 7, 0}, "enough of you")
	case "verbose":
		return refuse(550, mail.Enhanced{5, 1, 1}, "refused\nwith pleasure")
	}
	return policy.Verdict{}
}

func (sp *special) atHeader(_ context.Context, f *policy.Facts) policy.Verdict {
	switch last, _ := sp.last.Load(f.Client.Addr); last {
	case "unread":
		return refuse(451, mail.Enhanced{4, 3, 0}, "can't take it now")
	case "tight":
		return refuse(552, mail.Enhanced{5, 3, 4}, "too big")
	case "panic":
		panic("as asked for")
	}
	return policy.Verdict{}
}

func (sp *special) atBody(_ context.Context, f *policy.Facts) policy.Verdict {
	switch last, _ := sp.last.Load(f.Client.Addr); last {
	case "delayed":
		time.Sleep(30 * time.Millisecond)
		return refuse(451, mail.Enhanced{4, 3, 0}, "can't take it now")
	case "late":
		time.Sleep(30 * time.Millisecond)
	}
	return policy.Verdict{}
}

// theater is what a story is played on.
type theater interface {
	address() string
	settled(n int)            // waits until n connections are open
	next() ([]byte, bool)     // the oldest message that was stored and not asked for
	ended(reason string) bool // whether a connection ended so, beside those asked for
	writes() int64            // calls of Write on the server's sockets
	drain(on bool)
	shutdown()
}

// stage is this server, with a spool in memory.
type stage struct {
	*front
	t        testing.TB
	written  atomic.Int64
	registry *prometheus.Registry
	ends     map[string]float64 // connections by the reason of their end, as far as they were asked for
	taken    int
}

func newStage(t testing.TB, set Settings) *stage { return newStageWith(t, set, Options{}) }

func newStageWith(t testing.TB, set Settings, o Options) *stage {
	s := &stage{t: t, registry: prometheus.NewRegistry(), ends: map[string]float64{}}
	o.Metrics = s.registry
	s.front = serveOn(t, set, spool.Options{}, o, func(l net.Listener) net.Listener { return countingListener{l, &s.written} })
	return s
}

func (s *stage) address() string { return s.front.address }
func (s *stage) writes() int64   { return s.written.Load() }
func (s *stage) drain(on bool)   { s.server.Registry().SetDraining(on) }

func (s *stage) settled(n int) {
	s.t.Helper()
	kit.Eventually(s.t, strconv.Itoa(n)+" connections are open", func() bool { return s.server.Registry().Open() == n })
}

func (s *stage) next() ([]byte, bool) {
	all := s.accepted()
	if len(all) == s.taken {
		return nil, false
	}
	m := all[s.taken]
	s.taken++
	return []byte(body(s.t, m)[len(m.Envelope.Front):]), true
}

func (s *stage) ended(reason string) bool {
	s.ends[reason]++
	return kit.Within(kit.Patience, func() bool {
		families, err := s.registry.Gather()
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "anymx_ingress_connections_closed_total" && m.GetLabel()[0].GetValue() == reason {
					return m.GetCounter().GetValue() >= s.ends[reason]
				}
			}
		}
		return false
	})
}

func (s *stage) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), kit.Patience)
	closed := make(chan int, 1)
	go func() { closed <- s.server.Registry().Close(ctx) }()
	s.t.Cleanup(func() {
		defer cancel()
		if cut := <-closed; cut != 0 {
			s.t.Errorf("%d connections were cut", cut)
		}
	})
}

type countingListener struct {
	net.Listener
	writes *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	_ = conn.SetWriteBuffer(64 << 10) // so that it is full soon, also on a slow machine
	return &countingConn{conn, l.writes}, nil
}

type countingConn struct {
	*net.TCPConn
	writes *atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.TCPConn.Write(p)
}

// story is a dialogue while it is played.
type story struct {
	kit.Story
	set    Settings
	stage  theater
	build  func(testing.TB, Settings) theater // nil: this server
	before int64                              // writes at the last "writes"

	clients map[string]*client
	name    string
}

type client struct {
	conn net.Conn
	r    *bufio.Reader
	sent chan error // of the write that is going on, if any
}

func (s *story) play() {
	s.Play(s.step, s.send)
	for _, c := range s.clients {
		_ = c.conn.Close()
		if c.sent != nil {
			<-c.sent
		}
	}
	if s.stage == nil {
		s.Fatal("nothing happens")
	}
	s.stage.settled(0)
	if text, ok := s.stage.next(); ok {
		s.Fatal("stored, but not expected: %q", text)
	}
}

func (s *story) step(word, rest string) {
	if word == "server" {
		s.configure(rest)
		return
	}
	if step, ok := steps[word]; ok {
		step(s, rest)
		return
	}
	s.Fatal("what is %q?", word)
}

var steps = map[string]func(*story, string){
	"S:":     func(s *story, pattern string) { s.Expect(s.readLine(), pattern) },
	"D:":     (*story).stored,
	"reply":  (*story).reply,
	"client": func(s *story, name string) { s.name = name; s.client() },
	"writes": func(s *story, n string) {
		now := s.stage.writes()
		if got := now - s.before; strconv.FormatInt(got, 10) != n {
			s.Fatal("%d writes, not %s", got, n)
		}
		s.before = now
	},
	"starttls": func(s *story, _ string) {
		c := s.client()
		conn := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			s.Fatal("handshake: %v", err)
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	},
	"close": func(s *story, _ string) { _ = s.client().conn.Close() },
	"half-close": func(s *story, _ string) {
		_ = s.client().conn.(interface{ CloseWrite() error }).CloseWrite()
	},
	"expect-close": func(s *story, _ string) {
		line, err := s.client().r.ReadString('\n')
		if !errors.Is(err, io.EOF) || line != "" {
			s.Fatal("not closed: %q, %v", line, err)
		}
		_ = s.client().conn.Close()
	},
	"ended": func(s *story, reason string) {
		if !s.stage.ended(reason) {
			s.Fatal("no connection was ended by %q", reason)
		}
	},
	"drain":    func(s *story, _ string) { s.client(); s.stage.drain(true) },
	"undrain":  func(s *story, _ string) { s.stage.drain(false) },
	"shutdown": func(s *story, _ string) { s.stage.shutdown() },
	"wait": func(s *story, d string) {
		wait, err := time.ParseDuration(d)
		if err != nil {
			s.Fatal("%v", err)
		}
		time.Sleep(wait) // the client is slow, that is the story
	},
	"open": func(s *story, n string) {
		open, _ := strconv.Atoi(n)
		s.stage.settled(open)
	},
}

// configure sets up the server.
func (s *story) configure(settings string) {
	limits := &s.set.Wire.Limits
	numbers := map[string]*int{
		"max-line": &limits.MaxLine, "max-text": &limits.MaxTextLine, "max-commands": &s.set.MaxCommands,
		"max-errors": &s.set.MaxErrors, "max-connections": &limits.MaxConnections, "max-per-prefix": &limits.MaxPerPrefix,
	}
	times := map[string]*time.Duration{
		"command-timeout": &limits.CommandTimeout, "data-timeout": &limits.DataTimeout, "write-timeout": &limits.WriteTimeout,
		"handshake-timeout": &limits.HandshakeTimeout, "session-timeout": &limits.SessionTimeout,
		"proxy-timeout": &limits.ProxyTimeout, "banner-delay": &limits.BannerDelay, "grace": &limits.MinRateGrace,
	}
	for _, setting := range strings.Fields(settings) {
		key, value, _ := strings.Cut(setting, "=")
		n, _ := strconv.ParseInt(value, 10, 64)
		d, _ := time.ParseDuration(value)
		switch {
		case numbers[key] != nil:
			*numbers[key] = int(n)
		case times[key] != nil:
			*times[key] = d
		case key == "max-message":
			s.set.Rules.MaxMessage = n
		case key == "max-recipients":
			s.set.Rules.MaxRecipients = int(n)
		case key == "min-rate":
			limits.MinRate = n
		case key == "proxy":
			limits.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		case key == "tls":
			s.set.Wire.TLS = tlsConfig(s.T)
		default:
			s.Fatal("no setting %q", key)
		}
	}
}

// client is the one in hand, connected.
func (s *story) client() *client {
	if s.stage == nil {
		if s.build == nil {
			s.build = func(t testing.TB, set Settings) theater { return newStage(t, set) }
		}
		s.stage = s.build(s.T, s.set)
	}
	c := s.clients[s.name]
	if c == nil {
		conn, err := net.Dial("tcp", s.stage.address())
		if err != nil {
			s.Fatal("%v", err)
		}
		_ = conn.SetDeadline(time.Now().Add(kit.Patience))
		c = &client{conn: conn, r: bufio.NewReader(conn)}
		s.clients[s.name] = c
	}
	return c
}

// send writes text beside what the story does next: server and
// client may have to read while the other writes.
func (s *story) send(text []byte) {
	c := s.client()
	if c.sent != nil {
		if err := <-c.sent; err != nil {
			s.Fatal("write: %v", err)
		}
	}
	c.sent = make(chan error, 1)
	go func() {
		_, err := c.conn.Write(text)
		c.sent <- err
	}()
}

func (s *story) readLine() string {
	line, err := s.client().r.ReadString('\n')
	if err != nil {
		s.Fatal("read: %q, %v", line, err)
	}
	if !strings.HasSuffix(line, "\r\n") {
		s.Fatal("line without CRLF: %q", line)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func (s *story) reply(code string) {
	for {
		line := s.readLine()
		if !strings.HasPrefix(line, code) {
			s.Fatal("got %q", line)
		}
		if line[len(code)] == ' ' {
			return
		}
	}
}

func (s *story) stored(text string) {
	want := string(s.Unescape(text))
	got, ok := s.stage.next()
	if !ok {
		s.Fatal("nothing was stored")
	}
	if string(got) != want {
		s.Fatal("stored %q", got)
	}
}
