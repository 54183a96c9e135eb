package handoff

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/mail"
	"anymx/edge/spool"
)

// What each address of core takes is learned from every session that is opened there, asked for where
// there is none, and kept over a restart: ingress offers what core takes, and refuses what it lacks.

// Extensions is what is known of what core takes. It does not wait.
func (h *Handoff) Extensions() mail.CoreExtensions { return mail.CoreExtensions(h.takes.Load()) }

// learned notes what an address said in its EHLO. h.mu is held.
func (h *Handoff) learned(a *address, e mail.Extensions, now time.Time) {
	a.asked = now
	if a.learned && a.extensions == e {
		return
	}
	h.log.Info("core says what it takes", "address", a.name, "extensions", e.Keywords(), "before", a.extensions.Keywords())
	a.learned, a.extensions = true, e
	h.unsaved = true
	h.publish()
}

// publish is for Extensions. h.mu is held, or nobody else is there yet.
func (h *Handoff) publish() {
	takes := mail.CoreUnknown
	for _, a := range h.addresses {
		if a.learned {
			takes = takes.Add(a.extensions)
		}
	}
	h.takes.Store(uint32(takes))
}

// want is what a delivery needs of an address.
type want struct {
	needs mail.Extensions
	tried []*address // that turned out to lack it
}

// fits reports whether a takes what is wanted, as far as is known.
func (w *want) fits(a *address) bool { return a.takes(w.needs) && !slices.Contains(w.tried, a) }

// another reports whether there is an address that fits. h.mu is held.
func (h *Handoff) another(w *want) bool { return slices.ContainsFunc(h.addresses, w.fits) }

// passOn notes that a lacks what a recipient needed, if it does, and reports whether another address
// may have it.
func (h *Handoff) passOn(w *want, a *address, results []mail.Result) bool {
	if !slices.ContainsFunc(results, func(r mail.Result) bool { return lacks(r.Failure) }) {
		return false
	}
	w.tried = append(w.tried, a)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.another(w)
}

// lacks reports whether f is of an extension that the server lacks.
func lacks(f *mail.Failure) bool { return f != nil && errors.Is(f, smtpc.ErrLacks) }

// divide parts the recipients that need SMTPUTF8 from those that don't, where the message itself does
// not and there is more than one address to choose from: the others must not wait for an address that
// they don't need. All are plain otherwise, for one session serves them all.
func (h *Handoff) divide(env *mail.Envelope, needs mail.Extensions, pending []int) (plain, special []int) {
	needy := func(n int) bool { return env.Recipients[n].Path.Needs() != 0 }
	if needs.Has(mail.SMTPUTF8) || !slices.ContainsFunc(pending, needy) {
		return pending, nil
	}
	h.mu.Lock()
	several := len(h.addresses) > 1
	h.mu.Unlock()
	if !several {
		return pending, nil
	}
	for _, n := range pending {
		if needy(n) {
			special = append(special, n)
		} else {
			plain = append(plain, n)
		}
	}
	return plain, special
}

// scanned is the envelope of m, with what its bytes need. One that was stored without that, by an
// earlier version of the program, is read through now: what was declared for it may be more than it
// needs.
func scanned(m *spool.Message) (*mail.Envelope, error) {
	env := m.Envelope
	if env.Content.Has(mail.ContentKnown) || !env.SMTPUTF8 && env.Body != mail.Body8Bit {
		return env, nil
	}
	b, err := m.Body()
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var scan mail.ContentScan
	if _, err := b.WriteTo(&scan); err != nil {
		return nil, err
	}
	known := *env
	known.Content = scan.Content()
	return &known, nil
}

// Learn asks each address what it takes, where no session has said it for Options.EHLOInterval, and
// keeps the answers, until ctx ends. An address that has never answered is asked more often.
func (h *Handoff) Learn(ctx context.Context) {
	for pause := learnMin; ctx.Err() == nil; {
		var wait sync.WaitGroup
		for _, a := range h.dueForEHLO(time.Now()) {
			wait.Go(func() { h.ask(ctx, a) })
		}
		wait.Wait()
		h.save()
		if h.Extensions() != mail.CoreUnknown {
			pause = learnMax
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, learnMax)
	}
}

// The pauses between two looks at whose EHLO is due.
const (
	learnMin = 100 * time.Millisecond
	learnMax = time.Second
)

// dueForEHLO lists the addresses to ask: those that said nothing for a while, or that have closed a
// session that was kept, as they do when they restart.
func (h *Handoff) dueForEHLO(now time.Time) []*address {
	h.mu.Lock()
	var due []*address
	var stale []*kept
	for _, a := range h.addresses {
		closed := a.prune()
		stale = append(stale, closed...)
		if len(closed) > 0 || now.Sub(a.asked) >= h.settings.ehlo || !a.learned {
			due = append(due, a)
		}
	}
	h.mu.Unlock()
	closeAll(stale)
	return due
}

// ask opens a session of its own to hear what a takes. Like a probe it takes no room from mail, and
// says nothing of the address's health.
func (h *Handoff) ask(ctx context.Context, a *address) {
	h.mu.Lock()
	s := h.settings
	if h.closed || a.busy >= s.connections {
		h.mu.Unlock()
		return
	}
	if a.health.state == Down && time.Now().Before(a.health.retryAt) {
		h.mu.Unlock()
		return
	}
	h.wait.Add(1)
	h.mu.Unlock()
	defer h.wait.Done()
	conn, err := smtpc.Dial(ctx, a.name, s.client)
	if err == nil {
		defer conn.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && s == h.settings {
		h.learned(a, conn.Extensions(), time.Now())
	} else if err != nil && a.learned {
		a.asked = time.Now() // the next interval will do
	}
}

// maxLearned bounds the file, in bytes.
const maxLearned = 64 << 10

// learnedFile is the file's form.
type learnedFile struct {
	Addresses map[string]learnedAddress `json:"addresses"`
}

type learnedAddress struct {
	Extensions []string `json:"extensions"`
}

// recall reads what was learned before the start. Nothing is known of an address without it: an
// unreadable file costs no more than asking again.
func (h *Handoff) recall() {
	if h.file == "" {
		return
	}
	var known learnedFile
	text, err := h.file.Read(maxLearned)
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.log.Warn("what core takes is not known: its file can't be read, core is asked again", "file", string(h.file), "err", err)
		}
		return
	}
	for _, a := range h.addresses {
		if e, ok := known.Addresses[a.name]; ok {
			a.learned, a.extensions = true, mail.ParseExtensions(e.Extensions)
		}
	}
	h.publish()
}

// save writes what was learned, if that has changed.
func (h *Handoff) save() {
	h.mu.Lock()
	known := learnedFile{Addresses: make(map[string]learnedAddress)}
	for _, a := range h.addresses {
		if a.learned {
			known.Addresses[a.name] = learnedAddress{a.extensions.Keywords()}
		}
	}
	changed := h.unsaved
	h.unsaved = false
	h.mu.Unlock()
	if h.file == "" || !changed {
		return
	}
	text, err := json.Marshal(known)
	if err == nil {
		err = h.file.Write(append(text, '\n'))
	}
	if err != nil {
		h.log.Warn("what core takes could not be written down", "file", string(h.file), "err", err)
		h.mu.Lock()
		h.unsaved = true
		h.mu.Unlock()
	}
}
