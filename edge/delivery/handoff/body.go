package handoff

import (
	"io"

	"anymx/edge/spool"
)

// body is a stored message as smtpc takes it: it can be written several times,
// for the recipients may need several transactions.
type body struct {
	message *spool.Message
	open    *spool.Body
	read    bool // open was written, so the next time needs another
}

func openBody(m *spool.Message) (*body, error) {
	b, err := m.Body()
	if err != nil {
		return nil, err
	}
	return &body{message: m, open: b}, nil
}

func (b *body) close() { _ = b.open.Close() }

// Size returns the number of bytes that are delivered: front + body - cuts.
func (b *body) Size() int64 { return b.open.Size() }

// Pieces appends the whole message to list, in pieces, if it is in memory.
func (b *body) Pieces(list [][]byte) ([][]byte, bool) { return b.open.Pieces(list) }

// WriteTo writes the message from its start.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	if b.read {
		again, err := b.message.Body()
		if err != nil {
			return 0, err
		}
		b.close()
		b.open = again
	}
	b.read = true
	return b.open.WriteTo(w)
}
