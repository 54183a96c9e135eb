package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// write writes the section of the document.
func (r *attackRun) write(w io.Writer) {
	fmt.Fprintf(w, "\nMeasured %s, %d rounds. Each system has a control group with %d MiB of memory, and is fresh for each attack: ",
		time.Now().UTC().Format(time.DateOnly), r.b.opts.rounds, attackMemory>>20)
	fmt.Fprint(w, "Postfix with postscreen (`postscreen_greet_action = enforce`) and all other limits as shipped, "+
		"anymx with `max_connections = 5000` and all other limits as shipped. "+
		"Meanwhile good mail comes from "+fmt.Sprint(goodClients)+" other networks, IPv4 and IPv6, at "+fmt.Sprint(goodRate)+
		" messages/s, each in a connection of its own; half of the networks have sent a message before. A message has up to "+
		fmt.Sprint(goodAttempts)+" attempts of "+goodPatience.String()+", with a pause of "+goodPause.String()+" between two. "+
		"Times run from the first connect to the 250. Figures are medians of the rounds.\n\n")
	fmt.Fprint(w, "| attack | system | accepted at the first attempt | in the end | p50 | p99 | memory, peak | not ready | killed by the kernel | lost |\n"+
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for i := range attacks {
		for _, s := range r.systems {
			all := r.results[attacks[i].name+" "+s.name()]
			if len(all) == 0 {
				continue
			}
			fmt.Fprintf(w, "| %s | %s | %s |\n", attacks[i].what, s.describe().Title, strings.Join(cells(all), " | "))
		}
	}
	fmt.Fprintln(w)
}

// cells returns the figures of a row.
func cells(all []attackResult) []string {
	share := func(of func(attackResult) int) string {
		return fmt.Sprintf("%.1f%%", medianOf(all, func(a attackResult) float64 { return 100 * float64(of(a)) / float64(max(a.Sent, 1)) }))
	}
	ms := func(of func(attackResult) time.Duration) string {
		v := medianOf(all, func(a attackResult) float64 { return of(a).Seconds() * 1000 })
		if v > time.Hour.Seconds()*1000 {
			return "never"
		}
		return fmt.Sprintf("%.0f ms", v)
	}
	most := func(of func(attackResult) int64) int64 {
		var v int64
		for _, a := range all {
			v = max(v, of(a))
		}
		return v
	}
	return []string{
		share(func(a attackResult) int { return a.First }),
		share(func(a attackResult) int { return a.First + a.Late }),
		ms(func(a attackResult) time.Duration { return a.P50 }),
		ms(func(a attackResult) time.Duration { return a.P99 }),
		fmt.Sprintf("%d MiB", most(func(a attackResult) int64 { return a.Memory })>>20),
		fmt.Sprint(most(func(a attackResult) int64 { return int64(a.Unready) })),
		fmt.Sprint(most(func(a attackResult) int64 { return a.Killed })),
		fmt.Sprint(most(func(a attackResult) int64 { return int64(a.Missing) })),
	}
}

// medianOf returns the median of a figure.
func medianOf(all []attackResult, of func(attackResult) float64) float64 {
	var list []float64
	for _, a := range all {
		list = append(list, of(a))
	}
	return median(list)
}
