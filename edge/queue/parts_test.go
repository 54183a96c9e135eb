package queue

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// A notification returns the original as it would have been delivered: with our fields in front,
// and without what is cut out of the body.
func TestNoticeReturnsWhatIsDelivered(t *testing.T) {
	for ret, part := range map[mail.Return]string{mail.ReturnHeaders: "text/rfc822-headers", mail.ReturnFull: "message/rfc822"} {
		kit.Bubble(t, func(t *testing.T) {
			n := newNode(t, nil, func(o *Options) { o.ReturnFull = 10_000 }).run()
			defer n.close()
			n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
				if a.Message.Envelope.Sender.IsNull() {
					return deliver(a), nil
				}
				return refuse(a, permFail), nil
			})
			m := n.commit(func(env *mail.Envelope) { env.Return = ret })
			n.queue.Accepted(m)
			synctest.Wait()
			n.empty()
			var notice string
			for _, c := range n.courier.calls {
				if c.sender.IsNull() {
					notice = c.body
				}
			}
			_, original, _ := strings.Cut(notice, part)
			if !strings.Contains(original, "\r\n\r\nReceived: x\r\nSubject: "+m.Envelope.ID.String()+"\r\n") || strings.Contains(notice, "forged") ||
				strings.Contains(original, "body of it") != (ret == mail.ReturnFull) {
				t.Errorf("the notification:\n%s", notice)
			}
		})
	}
}
