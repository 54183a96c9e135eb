package smtpd

import (
	"slices"

	"anymx/edge/mail"
)

// completeEnvelope adds to the envelope what the verdict says, and what goes in front of the client's
// message: our trace field, after it the fields of the verdict, and an empty line where the message does
// not start with a header of its own. What the envelope can't hold is left out and logged: a message is
// not refused because a check says too much.
func (s *session) completeEnvelope() {
	env, v := s.env, &s.record().verdict
	var space [1 << 10]byte
	front := mail.AppendReceived(space[:0], env, s.rules.Hostname, s.server.options.Node)
	var left int
	for _, field := range v.Headers {
		longer, ok := mail.AppendField(front, field)
		if front = longer; !ok {
			left++
		}
	}
	if s.in.size > 0 && !s.in.header.Starts() {
		// The client's first line is not a field: it would become part of the last one of ours.
		front = append(front, "\r\n"...)
	}
	env.Front = slices.Clone(front) // without the room that is left
	for _, tag := range v.Tags {
		switch {
		case slices.Contains(env.Tags, tag):
		case len(env.Tags) == mail.MaxTags || !mail.IsTag(tag):
			left++
		default:
			env.Tags = append(env.Tags, tag)
		}
	}
	if v.Route != "" && !mail.IsTag(v.Route) {
		left++
	} else {
		env.Route = v.Route
	}
	env.NoDSN = env.NoDSN || v.NoDSN
	if left > 0 {
		s.server.options.Log.Error("parts of a verdict were left out: malformed, or too many",
			"id", env.ID, "parts", left, "headers", len(v.Headers), "tags", len(v.Tags))
	}
}
