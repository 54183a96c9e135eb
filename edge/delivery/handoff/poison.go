package handoff

import "anymx/edge/mail"

const (
	// aloneAfter is after how many broken connections a message has one of its own.
	aloneAfter = 2
	// maxPoison bounds the messages that are remembered. Beyond, all are forgotten: what it costs is that
	// a few more connections break under other messages.
	maxPoison = 4096
)

// poison counts the connections that messages have broken after a recipient was accepted. The zero value
// remembers none. Handoff.mu is held for it.
type poison struct{ breaks map[mail.ID]int }

func (p *poison) add(id mail.ID) {
	if p.breaks == nil || len(p.breaks) >= maxPoison {
		p.breaks = make(map[mail.ID]int)
	}
	p.breaks[id]++
}

func (p *poison) remove(id mail.ID) { delete(p.breaks, id) }

// travelsAlone reports whether a message has broken so many connections that it gets one of its own, so that
// it can't spoil one for others.
func (h *Handoff) travelsAlone(id mail.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.poison.breaks) > 0 && h.poison.breaks[id] >= aloneAfter
}
