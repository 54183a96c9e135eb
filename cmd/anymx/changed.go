package main

import (
	"errors"
	"fmt"
	"io"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// changeOutput prints the parts of a change as they arrive. As JSON it is one object, {"messages":
// [...], "pending": [...], "refused": [...]}.
type changeOutput struct {
	*program
	action  api.Action
	rows    array
	done    int
	asleep  int // flushed, but held
	later   []api.QueueItem
	refused []api.Refusal
}

// past describes the actions in the past tense.
var past = map[api.Action]string{
	api.Flush: "due now", api.Hold: "held", api.Release: "released", api.Delete: "deleted",
}

func (o *changeOutput) add(part api.Changed) error {
	o.later = append(o.later, part.Pending...)
	o.refused = append(o.refused, part.Refused...)
	if err := o.openObject(); err != nil {
		return err
	}
	for _, m := range part.Messages {
		o.done++
		if o.action == api.Flush && m.State == api.Held {
			o.asleep++
		}
		if o.json || o.action == api.Delete { // deleted messages can't be looked up later
			if err := o.listItem(&o.rows, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// openObject opens the JSON object.
func (o *changeOutput) openObject() error {
	if o.rows.w != nil || !o.json {
		return nil
	}
	o.rows.w = o.out
	_, err := io.WriteString(o.out, `{"messages":`)
	return err
}

// failed says how many messages were changed before err.
func (o *changeOutput) failed(err error) error {
	if o.done > 0 {
		fmt.Fprintf(o.errOut, "anymx: %s %s before this error\n", words.Messages(int64(o.done)), past[o.action])
	}
	return err
}

// end prints the rest, and what could not be changed.
func (o *changeOutput) end() error {
	summary := o.text
	if o.json {
		summary = o.object
	}
	if err := summary(); err != nil {
		return err
	}
	code := exitOK
	for _, r := range o.refused {
		if r.Code == api.NotFound {
			code = exitNotFound
		} else if code == exitOK {
			code = exitNo
		}
	}
	if code != exitOK {
		return &answered{code}
	}
	return nil
}

func (o *changeOutput) text() error {
	text := words.Messages(int64(o.done-o.asleep)) + " " + past[o.action]
	if o.asleep > 0 {
		text += fmt.Sprintf("; %s held until released", words.Messages(int64(o.asleep)))
	}
	_, err := fmt.Fprintln(o.out, text)
	for _, m := range o.later {
		fmt.Fprintf(o.errOut, "anymx: %s is being tried: %s when the attempt has ended, if the message is still there then\n", m.ID, past[o.action])
	}
	for _, r := range o.refused {
		fmt.Fprintf(o.errOut, "anymx: %s: %s\n", r.ID, words.Clean(r.Reason))
	}
	return err
}

// object closes the object that openObject opened.
func (o *changeOutput) object() error {
	if err := errors.Join(o.openObject(), o.rows.close()); err != nil {
		return err
	}
	later, err := encode(orEmpty(o.later), "")
	if err != nil {
		return err
	}
	refused, err := encode(orEmpty(o.refused), "")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, `,"pending":%s,"refused":%s}`+"\n", later, refused)
	return err
}

// orEmpty makes list [] in JSON instead of null.
func orEmpty[T any](list []T) []T { return append([]T{}, list...) }
