package words

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"anymx/edge/operate/api"
)

// WriteQueueSummary writes a table of what is in the queue by destination and age, with times relative to
// now.
func WriteQueueSummary(w io.Writer, s api.QueueSummary, now time.Time) error {
	if len(s.Rows) == 0 {
		_, err := fmt.Fprintln(w, "queue is empty")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "MESSAGES\tACTIVE\tHELD\tSIZE\tOLDEST\tNEXT\t")
	for _, age := range api.AgeGroups {
		fmt.Fprintf(t, "%s\t", shortAge(age))
	}
	fmt.Fprint(t, "older\t  DESTINATION\n")
	for _, r := range s.Rows {
		next := "-"
		if !r.Next.IsZero() {
			next = Due(r.Next, now)
		}
		fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%s\t%s\t", r.Legs, r.Active, r.Held, Size(r.Bytes), When(r.Oldest, now), next)
		for _, n := range r.Ages {
			fmt.Fprintf(t, "%s\t", dash(n))
		}
		fmt.Fprintf(t, "  %s\n", Destination(r.Destination))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range s.Rows {
		if r.Waits != "" {
			if _, err := fmt.Fprintln(w, Clean(r.Waits)); err != nil {
				return err
			}
		}
	}
	if more := s.Destinations - len(s.Rows); more > 0 {
		_, err := fmt.Fprintf(w, "and %d more destinations\n", more)
		return err
	}
	return nil
}

// Destination returns the name of a destination for people.
func Destination(name string) string {
	return Clean(cmp.Or(name, api.DefaultCore))
}

// dash returns a number, or a dash for 0.
func dash(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

// shortAge returns the bound of an age group: "5m", "4h".
func shortAge(d time.Duration) string {
	if d >= time.Hour {
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(int(d/time.Minute)) + "m"
}
