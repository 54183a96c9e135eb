package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// mood is how a destination behaves for a time.
type mood int

const (
	good mood = iota
	slow
	dead
	hanging
	picky     // refuses some recipients for good, others for now
	half      // answers for some recipients alone
	ambiguous // takes the message, and the answer is lost
	moods
)

func (m mood) String() string {
	return [...]string{"good", "slow", "dead", "hanging", "picky", "half", "ambiguous"}[m]
}

// outside is what has happened outside of the node: it can't be taken back.
type outside struct {
	got      map[string]int  // times that a recipient got its message
	excused  map[string]int  // of these, how many could not be told
	notified map[string]int  // times that the sender of a recipient was notified of a failure
	number   map[string]int  // the number of the last attempt of a leg
	down     map[string]bool // whether that one found the destination down
}

func newOutside() *outside {
	return &outside{map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, map[string]bool{}}
}

func (o *outside) clone() *outside {
	return &outside{maps.Clone(o.got), maps.Clone(o.excused), maps.Clone(o.notified), maps.Clone(o.number), maps.Clone(o.down)}
}

// mood returns how a destination behaves now: it changes every five minutes.
func (s *simulation) mood(destination string) mood {
	if s.healed || destination == "example.com" {
		return good
	}
	phase := int(time.Since(s.began) / (5 * time.Minute))
	if s.draw(3, "mood?", destination, phase) == 0 {
		return good
	}
	return mood(s.draw(int(moods), "mood", destination, phase))
}

// Reach implements Courier.
func (s *simulation) Reach(_ context.Context, destination string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mood(destination) == dead {
		return &Down{Until: time.Now().Add(30 * time.Second), Cause: errors.New("dead")}
	}
	return nil
}

// Deliver implements Courier.
func (s *simulation) Deliver(ctx context.Context, a *Attempt) ([]mail.Result, error) {
	env := a.Message.Envelope
	leg := fmt.Sprint(env.ID, "/", a.Leg)
	text, err := readAll(a.Message)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	m := s.mood(a.Destination)
	s.startAttempt(a, leg, m)
	wait := time.Duration(1+s.draw(1000, "wait", leg, a.Number)) * time.Millisecond
	if m == slow {
		wait *= 60
	}
	s.mu.Unlock()

	if m != dead {
		if m == hanging {
			wait = 24 * time.Hour
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[a.Destination]--
	delete(s.inFlight, leg)
	switch {
	case ctx.Err() != nil:
		s.tell("%s attempt %d cancelled", leg, a.Number)
		return nil, context.Cause(ctx)
	case m == dead:
		s.world.down[leg] = true
		return nil, &Down{Until: time.Now().Add(30 * time.Second), Cause: errors.New("dead")}
	}
	return s.answer(a, leg, m, text), nil
}

// startAttempt checks what is promised about an attempt that begins. s.mu is held.
func (s *simulation) startAttempt(a *Attempt, leg string, m mood) {
	s.tell("%s attempt %d to %s (%s), for %v", leg, a.Number, a.Destination, m, a.Pending)
	if last, known := s.world.number[leg]; known && (a.Number < last || a.Number == last && !s.world.down[leg]) {
		s.fault("attempt %d of %s after attempt %d", a.Number, leg, last)
	}
	s.world.number[leg], s.world.down[leg] = a.Number, false
	if s.busy[a.Destination]++; s.busy[a.Destination] > simLimit {
		s.fault("%d attempts to %s at a time", s.busy[a.Destination], a.Destination)
	}
	s.inFlight[leg] = map[string]bool{}
	for _, n := range a.Pending {
		s.inFlight[leg][a.Message.Envelope.Recipients[n].Path.String()] = true
	}
}

var simFinal = regexp.MustCompile(`Final-Recipient: (?:rfc822|utf-8); (\S+)\r\nAction: (\w+)`)

// answer delivers a message as the destination is inclined to. s.mu is held.
func (s *simulation) answer(a *Attempt, leg string, m mood, text string) []mail.Result {
	env := a.Message.Envelope
	results := deliver(a)
	for i := range results {
		to := env.Recipients[results[i].Recipient].Path.String()
		luck := s.draw(6, "luck", leg, a.Number, to)
		switch {
		case m == picky && luck == 0:
			results[i].Failure = permFail
			continue
		case m == picky && luck < 4:
			results[i].Failure = tempFail
			continue
		case m == half && luck < 3:
			results[i].Recipient = -1 // no result at all
			continue
		}
		if env.Sender.IsNull() {
			s.receiveNotice(text)
			continue
		}
		s.world.got[to]++
		if m == ambiguous {
			s.world.excused[to]++
			results[i].Failure = &mail.Failure{Enhanced: mail.Enhanced{4, 4, 2}, Command: "DATA end", Cause: io.ErrUnexpectedEOF}
		}
	}
	if s.bug == "a result of the wrong recipient" && len(results) > 1 {
		results[0].Recipient, results[1].Recipient = results[1].Recipient, results[0].Recipient
	}
	s.tell("%s answered", leg)
	return results
}

// receiveNotice reads a notification. s.mu is held.
func (s *simulation) receiveNotice(text string) {
	for _, m := range simFinal.FindAllStringSubmatch(text, -1) {
		if m[2] == "failed" {
			s.tell("sender notified of %s", m[1])
			s.world.notified[m[1]]++
		}
	}
}

func readAll(m *spool.Message) (string, error) {
	b, err := m.Body()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(b)
	return string(text), errors.Join(err, b.Close())
}
