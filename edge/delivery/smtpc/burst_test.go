package smtpc

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
)

// TestBurst sends groups of lines that every server accepts, and then a message, to check that the
// session is still in step.
func TestBurst(t *testing.T) {
	var lines, received atomic.Int64
	server := smtptest.Start(t, &smtptest.Server{
		Extensions: smtptest.All(),
		TLS:        serverTLS(),
		Hook: func(s smtptest.Step) smtptest.Action {
			if s.Verb == "RSET" {
				lines.Add(1)
				received.Add(int64(len(s.Line) + 2))
				if len(s.Line) > 510 || strings.TrimRight(s.Line, " ") != "RSET" {
					t.Errorf("not every server accepts %q", s.Line)
				}
			}
			return smtptest.Action{}
		},
	})
	for _, mode := range []TLSMode{TLSNever, TLSAuto} {
		for size, want := range map[int]int{1: 500, 500: 500, 501: 1000, 16 << 10: 16500, 48000: 48000, 48001: 48000, 1 << 20: 48000} {
			lines.Store(0)
			received.Store(0)
			c := dialTest(t, server, Options{TLSMode: mode})
			sent, err := c.Burst(t.Context(), size)
			if err != nil || sent != want || int64(sent) != received.Load() {
				t.Errorf("%d: sent %d (%v), the server has read %d in %d lines", size, sent, err, received.Load(), lines.Load())
			}
			mustDeliver(t, c, testMessage(1))
		}
	}
}

// TestBurstAlone sends longer lines if they can't be pipelined, and stops if the server refuses
// them.
func TestBurstAlone(t *testing.T) {
	for reply, want := range map[string]int{"": 6000, "500 5.5.2 line too long": 2000} {
		server := smtptest.Start(t, &smtptest.Server{Extensions: []string{"8BITMIME"}, Hook: func(s smtptest.Step) smtptest.Action {
			if s.Verb != "RSET" || len(s.Line) < 510 {
				return smtptest.Action{}
			}
			return smtptest.Action{Reply: reply}
		}})
		c := dialTest(t, server, Options{TLSMode: TLSNever})
		if sent, err := c.Burst(t.Context(), 5000); err != nil || sent != want {
			t.Errorf("%q: %d, %v", reply, sent, err)
		}
		mustDeliver(t, c, testMessage(1))
	}
}

// TestBurstUnanswered checks that Burst ends with its context, and that the connection is dead
// then.
func TestBurstUnanswered(t *testing.T) {
	for name, action := range map[string]smtptest.Action{
		"silence": {},
		"close":   {Close: true},
		"421":     {Reply: "421 4.7.0 too many of these", Close: true},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			server := smtptest.Start(t, &smtptest.Server{Extensions: smtptest.All(), Hook: func(s smtptest.Step) smtptest.Action {
				if s.Verb != "RSET" {
					return smtptest.Action{}
				}
				if name == "silence" {
					<-release
				}
				return action
			}})
			defer close(release)
			c := dialTest(t, server, Options{TLSMode: TLSNever})
			ctx, limit := t.Context(), error(nil)
			if name == "silence" {
				short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				ctx, limit = short, context.DeadlineExceeded
			}
			var f *mail.Failure
			_, err := c.Burst(ctx, 1000)
			if !errors.As(err, &f) || f.Command != "RSET" || !c.Dead() || limit != nil && !errors.Is(err, limit) {
				t.Errorf("%v, dead: %t", err, c.Dead())
			}
			if _, err := c.Burst(t.Context(), 1000); err == nil {
				t.Error("a dead connection was used")
			}
		})
	}
}
