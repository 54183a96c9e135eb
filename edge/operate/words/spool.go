package words

import (
	"fmt"
	"io"

	"anymx/edge/operate/api"
)

// WriteSpoolReport writes r as text for people.
func WriteSpoolReport(w io.Writer, r *api.SpoolReport) error {
	by := "no node has it open"
	if r.Open {
		by = "the node has it open"
	}
	verdict := "sound"
	if !r.Sound() {
		verdict = "NOT sound"
	}
	lines := []Line{{Text: fmt.Sprintf("%s is %s; %s", Clean(r.Dir), verdict, by)}}
	add := func(wrong bool, format string, args ...any) {
		lines = append(lines, Line{Text: fmt.Sprintf(format, args...), Wrong: wrong})
	}
	for _, p := range r.Problems {
		add(true, "%s", Clean(p))
	}
	for _, p := range r.Warnings {
		add(false, "%s", Clean(p))
	}
	add(false, "%s, %s", counted(r.Messages, "message"), Size(r.Bytes))
	add(false, "%s, %s", counted(r.BodyFiles, "body file"), Size(r.BodyBytes))
	if r.Damaged > 0 {
		add(true, "%s: body missing or not as it was stored", counted(r.Damaged, "damaged message"))
	}
	if r.Orphans > 0 {
		add(r.Lost > 0, "%s without an envelope, %s: %s acknowledged, %s", counted(r.Orphans, "body file"), Size(r.OrphanBytes),
			Count(r.Lost), counted(r.Orphans-r.Lost, "draft"))
	}
	if r.UnknownFiles > 0 {
		add(false, "%s among the bodies, left alone", counted(r.UnknownFiles, "unknown file"))
	}
	for _, dir := range r.Aside {
		add(false, "set aside: %s", Clean(dir))
	}
	for _, l := range lines {
		mark := "  "
		if l.Wrong {
			mark = "! "
		}
		if _, err := fmt.Fprintf(w, "%s%s\n", mark, l.Text); err != nil {
			return err
		}
	}
	return nil
}
