package words

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"anymx/edge/operate/api"
)

// ShieldText describes the shield in a status: where it runs, its load, and what is wrong with it.
func ShieldText(s *api.ShieldStatus) []Line {
	if s == nil {
		return nil
	}
	lines := []Line{{shieldHead(s), !shieldProtects(s)}}
	if shieldProtects(s) {
		lines = append(lines, Line{Text: pressureText(s)})
	}
	if s.Mode != shieldOff && shieldLoaded(s) {
		for _, i := range s.Interfaces {
			if l := interfaceText(s, i); l.Wrong {
				lines = append(lines, l)
			}
		}
	}
	return append(lines, shieldProblem(s)...)
}

// shieldHead returns "native on eth0, eth1; own cookies, shared key; 3 prefixes listed".
func shieldHead(s *api.ShieldStatus) string {
	switch {
	case s.Mode == shieldOff:
		return "off: EVERYTHING PASSES"
	case !shieldLoaded(s):
		return "NOT LOADED"
	case !shieldProtects(s):
		return "on no interface: EVERYTHING PASSES"
	}
	var modes []string
	on := map[string][]string{}
	for _, i := range attachedInterfaces(s) {
		if on[i.Mode] == nil {
			modes = append(modes, i.Mode)
		}
		on[i.Mode] = append(on[i.Mode], Clean(i.Name))
	}
	for i, mode := range modes {
		modes[i] = Clean(mode) + " on " + strings.Join(on[mode], ", ")
	}
	return fmt.Sprintf("%s; %s; %s listed", strings.Join(modes, ", "), cookiesText(s), prefixes(s.Listed))
}

// shieldOff is the mode in which packets pass unfiltered.
const shieldOff = "off"

// shieldLoaded reports whether this process has loaded its programs. Of programs left by an earlier
// process only the text in Problem is known.
func shieldLoaded(s *api.ShieldStatus) bool { return s.Cookies != "" }

// interfaceOpen reports whether packets pass i unfiltered.
func interfaceOpen(i api.ShieldInterface) bool { return i.Mode == shieldOff || i.Mode == "" }

// attachedInterfaces returns the interfaces whose packets are filtered.
func attachedInterfaces(s *api.ShieldStatus) []api.ShieldInterface {
	return slices.DeleteFunc(slices.Clone(s.Interfaces), interfaceOpen)
}

// shieldProtects reports whether packets of any interface are filtered.
func shieldProtects(s *api.ShieldStatus) bool {
	return s.Mode != shieldOff && len(attachedInterfaces(s)) > 0
}

// ShieldIsOpen reports whether packets pass unfiltered on one interface or all, as far as is known.
func ShieldIsOpen(s *api.ShieldStatus) bool { return ShieldOpening(s) != "" }

// ShieldOpening says what passes unfiltered; "" if nothing does.
func ShieldOpening(s *api.ShieldStatus) string {
	switch {
	case s.Mode != shieldOff && !shieldLoaded(s) && s.Problem != "":
		return Clean(s.Problem)
	case !shieldProtects(s):
		return "everything passes"
	}
	var names []string
	for _, i := range s.Interfaces {
		if interfaceOpen(i) {
			names = append(names, Clean(i.Name))
		}
	}
	if names == nil {
		return ""
	}
	return "packets pass unseen on " + strings.Join(names, ", ")
}

// ownCookies is the value of Cookies for our own cookies, which listeners must be told about.
const ownCookies = "own"

// cookiesText says whose cookies answer SYNs.
func cookiesText(s *api.ShieldStatus) string {
	text := Clean(s.Cookies) + " cookies"
	switch {
	case s.Cookies == ownCookies && s.SharedKey:
		text += ", shared key"
	case s.Cookies == ownCookies:
		text += ", key of this node alone"
	}
	if s.CookiesReason != "" {
		text += " (" + Clean(s.CookiesReason) + ")"
	}
	return text
}

// pressureText describes the current flood, or the last one.
func pressureText(s *api.ShieldStatus) string {
	var now []string
	if s.SYNs.On {
		now = append(now, "SYNs are answered with cookies"+pressureLeft(s.SYNs))
	}
	if s.Strays.On {
		now = append(now, "strays are dropped"+pressureLeft(s.Strays))
	}
	if now != nil {
		return "UNDER PRESSURE: " + strings.Join(now, ", ")
	}
	return fmt.Sprintf("in peace; the most so far: %s SYNs/s, %s strays/s", rate(s.SYNs.Peak), rate(s.Strays.Peak))
}

// pressureLeft returns " for 8s more", and nothing for pressure without an end.
func pressureLeft(p api.ShieldPressure) string {
	if p.Left <= 0 {
		return ""
	}
	return " for " + Span(p.Left.Duration()+time.Second-1, true) + " more" // never 0s
}

// onePressureText describes one kind of pressure with its figures.
func onePressureText(p api.ShieldPressure, what string) string {
	text := "in peace"
	if p.On {
		text = "UNDER PRESSURE: " + what + pressureLeft(p)
	}
	return fmt.Sprintf("%s; limit %s/s, the most so far %s/s", text, rate(p.Limit), rate(p.Peak))
}

// rate formats packets per second.
func rate(r float64) string {
	if !(r >= 0 && r < math.MaxInt64) { // catches NaN too
		return "?"
	}
	return Count(int64(math.Round(r)))
}

// shieldProblem returns Problem without the problems of interfaces, which are shown with the
// interfaces.
func shieldProblem(s *api.ShieldStatus) []Line {
	text := s.Problem
	for _, i := range s.Interfaces {
		if rest, ok := strings.CutPrefix(text, i.Problem); ok && i.Problem != "" {
			text = strings.TrimPrefix(rest, "; ")
		}
	}
	if text == "" {
		return nil
	}
	return []Line{{Clean(text), true}}
}

// interfaceText returns "eth0: native", "eth0: PACKETS PASS UNSEEN: no such interface".
func interfaceText(s *api.ShieldStatus, i api.ShieldInterface) Line {
	text, mute := Clean(i.Name)+": "+Clean(i.Mode), s.Cookies == ownCookies && !i.Admits
	switch {
	case interfaceOpen(i):
		text = Clean(i.Name) + ": PACKETS PASS UNSEEN"
	case mute:
		text += ", but listeners do not hear of returned cookies"
	}
	if i.Problem != "" {
		text += ": " + Clean(strings.TrimPrefix(i.Problem, "interface "+i.Name+": "))
	}
	return Line{text, interfaceOpen(i) || mute || i.Problem != ""}
}

// WriteShield writes all about the shield, with the counts of all verdicts.
func WriteShield(w io.Writer, s api.ShieldStatus) error {
	var b bytes.Buffer
	writeRows(&b, shieldRows(&s))
	if len(s.Verdicts) > 0 {
		b.WriteByte('\n')
		writeVerdicts(&b, s.Verdicts)
	}
	_, err := b.WriteTo(w)
	return err
}

func shieldRows(s *api.ShieldStatus) []row {
	rows := []row{{"Mode", []Line{{Clean(s.Mode), s.Mode == shieldOff}}}}
	if !shieldLoaded(s) {
		return append(rows, row{"State", []Line{{shieldHead(s), true}}}, row{"Problem", shieldProblem(s)})
	}
	var ports []Line
	for _, i := range s.Interfaces {
		ports = append(ports, interfaceText(s, i))
	}
	if ports == nil {
		ports = []Line{{"none", true}}
	}
	return append(rows, row{"Devices", ports}, row{"Cookies", plainLine(cookiesText(s))},
		row{"SYNs", plainLine(onePressureText(s.SYNs, "they are answered with cookies"))},
		row{"Strays", plainLine(onePressureText(s.Strays, "they are dropped"))},
		row{"Listed", plainLine(prefixes(s.Listed))}, row{"Problem", shieldProblem(s)})
}

// verdictTexts describes the verdicts in a few words.
var verdictTexts = map[string]string{
	"other":        "not for a service address: passed",
	"not-tcp":      "ICMP and the like for a service address: passed",
	"unparsable":   "headers that can't be followed",
	"fragment":     "fragments for a service address",
	"malformed":    "flags, lengths or addresses that no TCP sends: dropped",
	"unserved":     "UDP, or a port that is not served",
	"blocked":      "from the block list: dropped",
	"limited":      "above the connection rate of its prefix: dropped",
	"syn-passed":   "SYN in peace: passed",
	"syn-answered": "SYN under pressure: answered with a cookie",
	"syn-failed":   "SYN that could not be answered: dropped",
	"established":  "of a connection: passed",
	"handshake":    "ends a handshake of the stack: passed",
	"cookie":       "returned a good cookie: passed",
	"stray":        "fits nothing, in peace: passed, and reset by the stack",
	"bogus":        "fits nothing, under pressure: dropped",
	"admitted":     "of those with a good cookie: handed to its listener",
	"unadmitted":   "of those with a good cookie: not taken by the kernel, or nobody listens",
}

func writeVerdicts(b *bytes.Buffer, verdicts []api.ShieldVerdict) {
	names, packets := len("VERDICT"), len("PACKETS")
	for _, v := range verdicts {
		names = max(names, len(Clean(v.Verdict)))
		packets = max(packets, len(many(v.Packets)))
	}
	fmt.Fprintf(b, "%-*s  %*s  %9s  MEANING\n", names, "VERDICT", packets, "PACKETS", "SIZE")
	for _, v := range verdicts {
		text := fmt.Sprintf("%-*s  %*s  %9s  %s", names, Clean(v.Verdict), packets, many(v.Packets), Size(signed(v.Bytes)), verdictTexts[v.Verdict])
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
}

// signed converts n to the type that Size and Count take.
func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// many formats a counter of the kernel as Count does.
func many(n uint64) string { return Count(signed(n)) }

// prefixes returns "1 prefix", "2 prefixes".
func prefixes(n int) string {
	if n == 1 {
		return "1 prefix"
	}
	return Count(int64(n)) + " prefixes"
}

// ShieldLines returns the shield in a few lines. Lines about problems begin with a mark, "!".
func ShieldLines(s *api.ShieldStatus) []string {
	var lines []string
	for _, l := range ShieldText(s) {
		if l.Wrong {
			l.Text = "! " + l.Text
		}
		lines = append(lines, l.Text)
	}
	return lines
}
