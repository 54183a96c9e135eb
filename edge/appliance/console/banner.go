package console

import (
	"fmt"
	"strings"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// Limits of a banner, which should leave room for the prompt on 24 rows.
const (
	maxAddresses    = 8
	maxProblemLines = 6
)

// Banner returns the text before the prompt, line by line, without terminal control characters.
func (f *Facts) Banner() []string {
	lines := []string{"", "anymx " + words.Clean(f.Version) + ", " + f.title(), ""}
	row := func(name, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("  %-9s ", name)+fmt.Sprintf(format, args...))
	}
	f.addressRows(row)
	if f.Source != "" {
		row("Config", "from %s", f.Source)
	}
	for i, line := range f.Problem {
		name := ""
		if i == 0 {
			name = "Problem"
		}
		if i == maxProblemLines {
			row("", "... `config` shows all %d lines", len(f.Problem))
			break
		}
		row(name, "%s", line)
	}
	if f.Status != nil {
		statusRows(f.Status, row)
	} else {
		row("Node", "%s", f.Silence)
	}
	return append(lines, "", f.hint(), "")
}

// title returns the node's name, if known.
func (f *Facts) title() string {
	switch {
	case f.Name == "":
		return "not configured"
	case f.Hostname == "":
		return words.Clean(f.Name)
	}
	return words.Clean(f.Name) + " (" + words.Clean(f.Hostname) + ")"
}

// hint returns a line about the available commands.
func (f *Facts) hint() string {
	switch f.Mode {
	case config.ConsoleOff:
		return `This console is switched off ([console] mode = "off" in the config).`
	case config.ConsoleView:
		return "Type help for the commands; this console only shows. There is no shell."
	}
	return "Type help for the commands. There is no shell."
}

type rowFunc = func(name, format string, args ...any)

// addressRows shows where the machine can be reached, without loopback addresses.
func (f *Facts) addressRows(row rowFunc) {
	count := 0
	for _, far := range []bool{true, false} { // link-local ones last
		for _, d := range f.Devices {
			name := d.Name
			for _, a := range d.Addresses {
				if d.Loopback || a.Addr().IsLoopback() || a.Addr().IsLinkLocalUnicast() == far {
					continue
				}
				if count++; count <= maxAddresses {
					row(words.Clean(name), "%s", a)
					name = ""
				}
			}
		}
	}
	switch {
	case count == 0:
		row("Network", "no address yet; `network` shows the interfaces")
	case count > maxAddresses:
		row("", "and %d more: `network`", count-maxAddresses)
	}
}

// statusRows returns a short status; the command `status` prints all of it.
func statusRows(s *api.Status, row rowFunc) {
	phase := string(s.Phase)
	if !s.Since.IsZero() {
		phase += " since " + s.Since.UTC().Format("2006-01-02 15:04 MST")
	}
	if s.Drain != nil && s.Drain.Reason != "" {
		phase += ": " + s.Drain.Reason
	}
	row("Phase", "%s", words.Clean(phase))
	ready := "yes"
	if !s.Ready.OK {
		ready = "NO: " + s.Ready.Reason
	}
	row("Ready", "%s", words.Clean(ready))
	if s.Speaker != nil {
		row("Routes", "%s", words.Clean(routesText(s.Speaker)))
	}
	row("Core", "%s", coreText(s.Core))
	spool := words.Messages(s.Spool.Messages)
	if s.Queue.Held > 0 {
		spool += fmt.Sprintf(", %d of them held", s.Queue.Held)
	}
	if !s.Spool.Accepting {
		spool += "; TAKES NO MORE: " + s.Spool.Reason
	}
	row("Spool", "%s", words.Clean(spool))
}

// routesText returns the speaker's state and how many of its peers are established.
func routesText(n *api.Neighbour[api.SpeakerStatus]) string {
	switch s := n.Status; {
	case s == nil && n.Problem != "":
		return "anymx-bgp does not answer: " + n.Problem
	case s == nil:
		return "anymx-bgp has not answered yet"
	default:
		_, established := s.Confirmed()
		text := string(s.Routes)
		if s.Reason != "" {
			text += " (" + s.Reason + ")"
		}
		text += fmt.Sprintf("; %d of %d peers established", established, len(s.Peers))
		if n.Problem != "" {
			text += "; anymx-bgp does not answer now"
		}
		return text
	}
}

func coreText(list []api.CoreStatus) string {
	up, down := 0, []string{}
	for _, c := range list {
		switch c.Health {
		case api.Up, api.Unused:
			up++
		default:
			down = append(down, words.CoreName(&c)+" "+words.Clean(string(c.Health)))
		}
	}
	text := fmt.Sprintf("%d of %d addresses in order", up, len(list))
	if len(down) > 0 {
		text += "; " + strings.Join(down, ", ")
	}
	return text
}
