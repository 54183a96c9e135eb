package smtpc

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
)

// TestFaultyReplies runs each row of smtptest's table, and checks the result of each recipient.
func TestFaultyReplies(t *testing.T) {
	scripts, err := smtptest.Scripts()
	if err != nil || len(scripts) < 50 {
		t.Fatalf("%d rows: %v", len(scripts), err)
	}
	for _, script := range scripts {
		t.Run(script.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { sendToScript(t, &script) })
		})
	}
}

func sendToScript(t *testing.T, script *smtptest.Script) {
	s := &smtptest.Server{LMTP: script.LMTP, Extensions: script.Extensions(), Script: script}
	defer s.Close()
	c, err := Dial(t.Context(), "core.test:25", Options{LMTP: script.LMTP, Hello: "edge.test", Dial: s.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	results, _ := c.Send(t.Context(), testMessage(len(script.Has)))
	if took := time.Since(began); script.Then != "hang" && took > 2*lastWords {
		t.Errorf("took %v", took)
	}
	var got strings.Builder
	for i, r := range results {
		outcome := byte('d')
		if f := r.Failure; f != nil {
			if outcome = 'a'; f.Permanent {
				outcome = 'b'
			}
			if f == unattempted || f.Permanent != (f.Reply.Code >= 500) {
				t.Errorf("recipient %d: %v", i, f)
			}
		}
		got.WriteByte(outcome)
	}
	if got.String() != script.Outcome {
		t.Errorf("outcome is %s, want %s: %v", got.String(), script.Outcome, results)
	}
	if !c.Dead() && (script.Then != "open" || slices.ContainsFunc(script.Replies, func(r string) bool { return strings.HasSuffix(r, "421") })) {
		t.Error("the connection would be used again")
	}
}
