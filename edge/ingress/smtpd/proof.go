package smtpd

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/spool"

	"github.com/emersion/go-smtp"
)

// proofDomain is where proofs are addressed to: no host can have a name in
// .invalid (RFC 2606 section 2, RFC 6761 section 6.4).
const proofDomain = "proof.invalid"

// Limits of a proof's session, which nobody but this process can have.
const (
	proofSilence = 10 * time.Second
	proofSize    = 64 << 10 // octets of a message
)

// Proof is a message that the node is about to send to itself, through one of
// its own listeners, to see that it takes and stores mail.
//
// Two things make the message a proof. Its connection comes from an address and
// port that this process has bound before the server was told of it, so that no
// other socket of any host can be at it; and its recipient is a token that was
// drawn for it and is known nowhere else.
type Proof struct {
	token  string
	stored chan Stored // one slot
	proofs *proofs
	from   netip.AddrPort
}

// Stored is a message as it was read back from the spool.
type Stored struct {
	Envelope *mail.Envelope
	Text     []byte // with the trace field in front
	Err      error  // why it could not be stored, or not be read back; the rest is zero then
}

// Recipient is to whom the message has to be sent.
func (p *Proof) Recipient() mail.Path { return mail.Path{Local: p.token, Domain: proofDomain} }

// Stored gets what became of the message, before the server answers it. By then
// it is removed from the spool.
func (p *Proof) Stored() <-chan Stored { return p.stored }

func (p *Proof) hand(s Stored) {
	select {
	case p.stored <- s:
	default: // a second message, which nobody has sent
	}
}

// Close forgets the proof.
func (p *Proof) Close() {
	p.proofs.mu.Lock()
	defer p.proofs.mu.Unlock()
	delete(p.proofs.from, p.from)
}

// isFor says whether to is the recipient. How long that takes tells nothing.
func (p *Proof) isFor(to mail.Path) bool {
	token := subtle.ConstantTimeCompare([]byte(to.Local), []byte(p.token))
	return token == 1 && to.Domain == proofDomain
}

// readBack takes the message id out of the spool again, and hands on what was in
// it.
func (p *Proof) readBack(from *spool.Spool, id mail.ID) (err error) {
	defer func() { err = errors.Join(err, from.Remove(id)) }()
	m, _, err := from.Load(id)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	body, err := m.Body()
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	text, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	p.hand(Stored{Envelope: m.Envelope, Text: text})
	return nil
}

// proofs are those that are under way, by where they come from.
type proofs struct {
	mu   sync.Mutex
	from map[netip.AddrPort]*Proof
}

// find is the proof that comes from there; nil if none does.
func (p *proofs) find(from netip.AddrPort) *Proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.from[from]
}

// Expect has the server take the connection from that address and port, which
// the caller has bound and will connect from, as a proof. The proof must be
// closed.
func (s *Server) Expect(from netip.AddrPort) *Proof {
	p := &Proof{token: rand.Text(), stored: make(chan Stored, 1), proofs: &s.proofs, from: from}
	s.proofs.mu.Lock()
	defer s.proofs.mu.Unlock()
	if s.proofs.from == nil {
		s.proofs.from = make(map[netip.AddrPort]*Proof)
	}
	s.proofs.from[from] = p
	return p
}

// newProofSession is newSession for what a door has put aside.
func (s *Server) newProofSession(c *smtp.Conn) (smtp.Session, error) {
	conn, ok := c.Conn().(*wire.Conn)
	if !ok {
		return nil, errors.New("connection did not come through wire")
	}
	proof := s.proofs.find(conn.Client())
	if proof == nil {
		return nil, errors.New("the proof has been given up")
	}
	sess := &session{server: s, rules: proofRules(s.settings.Load().Rules.Hostname), proof: proof, smtp: c, wire: conn}
	sess.client.Addr, sess.client.Service = conn.Client(), conn.Service()
	return sess, nil
}

// proofRules are those of a proof, in place of what an operator has set for
// clients.
func proofRules(hostname string) *policy.Rules {
	return &policy.Rules{
		Hostname: hostname, Domains: policy.NewDomains([]policy.Domain{{Name: proofDomain}}),
		MaxMessage: proofSize, MaxRecipients: 1, MaxMessages: 1,
	}
}

// proofSettings are wire's for a proof. What protects from clients is not there.
func (s *Server) proofSettings() wire.Settings {
	hostname := s.settings.Load().Rules.Hostname // read by this node alone: it may be an old one
	return wire.Settings{
		Hostname: hostname, Command: completePostmaster(hostname),
		Limits: wire.Limits{
			MaxMessage: proofSize, CommandTimeout: proofSilence, DataTimeout: proofSilence, WriteTimeout: proofSilence,
		},
	}
}

// The rest is what a session does otherwise where it is a proof's.

// full is why the spool takes nothing; nil: it does.
func (s *session) full() error {
	if s.proof != nil {
		return nil // BeginSelfTest returns the error
	}
	return s.server.o.Spool.Accepting()
}

func (s *session) begin() (*spool.Draft, error) {
	if s.proof != nil {
		return s.server.o.Spool.BeginSelfTest()
	}
	return s.server.o.Spool.Begin()
}

// stored hands on a message that was committed: to the queue, or to the proof
// that it is. A proof is in no log and no figure of mail, and the queue never
// hears of it.
func (s *session) stored(m *spool.Message) error {
	if s.proof != nil {
		return s.proof.readBack(s.server.o.Spool, m.Envelope.ID)
	}
	s.server.metrics.accepted(m.Envelope)
	s.server.o.MailLog.Accepted(m.Envelope)
	s.server.o.Accepted(m)
	return nil
}
