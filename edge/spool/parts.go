package spool

import (
	"encoding/binary"
	"fmt"

	"anymx/edge/mail"
)

// This file is pure: it encodes and decodes the fields of an envelope record that say what is
// delivered besides the body, and what of it isn't.

// appendParts appends the fields of Front, Cuts, Tags and Route.
func appendParts(b []byte, env *mail.Envelope) []byte {
	if len(env.Front) > 0 {
		b = append(appendGroup(b, tagFront, len(env.Front)), env.Front...)
	}
	if len(env.Cuts) > 0 {
		b = appendGroup(b, tagCuts, walkCuts(env.Cuts, func(uint64) {}))
		walkCuts(env.Cuts, func(v uint64) { b = binary.AppendUvarint(b, v) })
	}
	for _, tag := range env.Tags {
		b = appendText(b, tagTag, tag)
	}
	return appendText(b, tagRoute, env.Route)
}

// walkCuts passes the numbers that encode cuts to yield, and returns their size in bytes.
func walkCuts(cuts []mail.Span, yield func(uint64)) (size int) {
	var last int64
	for _, c := range cuts {
		for _, v := range [...]uint64{uint64(c.Start - last), uint64(c.End - c.Start)} {
			yield(v)
			size += uvarintSize(v)
		}
		last = c.End
	}
	return size
}

// part reads a field of appendParts into env. It ignores other tags.
func (f *fields) part(env *mail.Envelope) {
	switch f.tag {
	case tagFront:
		env.Front = append([]byte(nil), f.value...)
	case tagCuts:
		env.Cuts = f.cuts()
	case tagTag:
		if len(env.Tags) == mail.MaxTags {
			f.fail("number of tags")
			return
		}
		env.Tags = append(env.Tags, f.value)
	case tagRoute:
		env.Route = f.value
	}
}

// cuts returns the field's value as spans. It bounds their number; checkParts checks the rest.
func (f *fields) cuts() (cuts []mail.Span) {
	in := fields{rest: f.value}
	var last int64
	for in.rest != "" && in.err == nil {
		if len(cuts) == mail.MaxCuts {
			f.fail("number of cuts")
			return nil
		}
		start := last + int64(in.uvarint())
		end := start + int64(in.uvarint())
		cuts = append(cuts, mail.Span{Start: start, End: end}) // a sum that overflows is not sorted
		last = end
	}
	if f.err == nil {
		f.err = in.err
	}
	return cuts
}

// checkParts sets env.Size, and checks what a record says about the parts of the message.
func checkParts(env *mail.Envelope, h *header) error {
	if err := env.CheckParts(h.size); err != nil {
		return fmt.Errorf("%w: %w", err, errRecord)
	}
	env.SetSize(h.size)
	if env.Size != h.delivered {
		return fmt.Errorf("%d bytes are delivered, the header says %d: %w", env.Size, h.delivered, errRecord)
	}
	return nil
}
