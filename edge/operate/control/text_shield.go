package control

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// text is the shield in a status: where it stands, how it fares, and what is wrong
// with it.
func (s *ShieldStatus) text() []line {
	if s == nil {
		return nil
	}
	lines := []line{{s.head(), !s.protects()}}
	if s.protects() {
		lines = append(lines, line{Text: s.pressure()})
	}
	if s.Mode != shieldOff && s.loaded() {
		for _, i := range s.Interfaces {
			if l := s.portText(i); l.Wrong {
				lines = append(lines, l)
			}
		}
	}
	return append(lines, s.ownProblem()...)
}

// head is "native on eth0, eth1; own cookies, shared key; 3 prefixes listed".
func (s *ShieldStatus) head() string {
	switch {
	case s.Mode == shieldOff:
		return "off: EVERYTHING PASSES"
	case !s.loaded():
		return "NOT LOADED"
	case !s.protects():
		return "on no interface: EVERYTHING PASSES"
	}
	var modes []string
	on := map[string][]string{}
	for _, i := range s.attached() {
		if on[i.Mode] == nil {
			modes = append(modes, i.Mode)
		}
		on[i.Mode] = append(on[i.Mode], Clean(i.Name))
	}
	for i, mode := range modes {
		modes[i] = Clean(mode) + " on " + strings.Join(on[mode], ", ")
	}
	return fmt.Sprintf("%s; %s; %s listed", strings.Join(modes, ", "), s.cookies(), prefixes(s.Listed))
}

// shieldOff is the mode in which packets pass unseen.
const shieldOff = "off"

// loaded says that there are programs of this process. Of what an earlier one has
// left nothing is known but what stands in Problem.
func (s *ShieldStatus) loaded() bool { return s.Cookies != "" }

// open says that packets pass i unseen.
func (i ShieldInterface) open() bool { return i.Mode == shieldOff || i.Mode == "" }

// attached are the interfaces whose packets are seen.
func (s *ShieldStatus) attached() []ShieldInterface {
	return slices.DeleteFunc(slices.Clone(s.Interfaces), ShieldInterface.open)
}

// protects says whether packets of any interface are seen.
func (s *ShieldStatus) protects() bool { return s.Mode != shieldOff && len(s.attached()) > 0 }

// Open says whether packets pass unseen on an interface, or on all, as far as is
// known.
func (s *ShieldStatus) Open() bool { return s.open() != "" }

// open is what passes unseen, and "" if nothing does.
func (s *ShieldStatus) open() string {
	switch {
	case s.Mode != shieldOff && !s.loaded() && s.Problem != "":
		return Clean(s.Problem)
	case !s.protects():
		return "everything passes"
	}
	var names []string
	for _, i := range s.Interfaces {
		if i.open() {
			names = append(names, Clean(i.Name))
		}
	}
	if names == nil {
		return ""
	}
	return "packets pass unseen on " + strings.Join(names, ", ")
}

// ownCookies is what Cookies says of cookies that listeners have to be told of.
const ownCookies = "own"

// cookies is whose cookies answer SYNs.
func (s *ShieldStatus) cookies() string {
	text := Clean(s.Cookies) + " cookies"
	switch {
	case s.Cookies == ownCookies && s.SharedKey:
		text += ", shared key"
	case s.Cookies == ownCookies:
		text += ", key of this node alone"
	}
	if s.Why != "" {
		text += " (" + Clean(s.Why) + ")"
	}
	return text
}

// pressure is the flood that there is, or was.
func (s *ShieldStatus) pressure() string {
	var now []string
	if s.SYNs.On {
		now = append(now, "SYNs are answered with cookies"+s.SYNs.left())
	}
	if s.Strays.On {
		now = append(now, "strays are dropped"+s.Strays.left())
	}
	if now != nil {
		return "UNDER PRESSURE: " + strings.Join(now, ", ")
	}
	return fmt.Sprintf("in peace; the most so far: %s SYNs/s, %s strays/s", rate(s.SYNs.Peak), rate(s.Strays.Peak))
}

// left is " for 8s more", and nothing for pressure without an end.
func (p ShieldPressure) left() string {
	if p.Left <= 0 {
		return ""
	}
	return " for " + span(p.Left+time.Second-1, true) + " more" // 0s is not said
}

// text is one kind of pressure with its figures.
func (p ShieldPressure) text(what string) string {
	text := "in peace"
	if p.On {
		text = "UNDER PRESSURE: " + what + p.left()
	}
	return fmt.Sprintf("%s; limit %s/s, the most so far %s/s", text, rate(p.Limit), rate(p.Peak))
}

// rate is packets in a second.
func rate(r float64) string {
	if !(r >= 0 && r < math.MaxInt64) { // NaN is neither
		return "?"
	}
	return count(int64(math.Round(r)))
}

// ownProblem is what Problem says besides the problems of interfaces, which are told
// with them.
func (s *ShieldStatus) ownProblem() []line {
	text := s.Problem
	for _, i := range s.Interfaces {
		if rest, ok := strings.CutPrefix(text, i.Problem); ok && i.Problem != "" {
			text = strings.TrimPrefix(rest, "; ")
		}
	}
	if text == "" {
		return nil
	}
	return []line{{Clean(text), true}}
}

// portText is "eth0: native", "eth0: PACKETS PASS UNSEEN: no such interface".
func (s *ShieldStatus) portText(i ShieldInterface) line {
	text, mute := Clean(i.Name)+": "+Clean(i.Mode), s.Cookies == ownCookies && !i.Admits
	switch {
	case i.open():
		text = Clean(i.Name) + ": PACKETS PASS UNSEEN"
	case mute:
		text += ", but listeners do not hear of returned cookies"
	}
	if i.Problem != "" {
		text += ": " + Clean(strings.TrimPrefix(i.Problem, "interface "+i.Name+": "))
	}
	return line{text, i.open() || mute || i.Problem != ""}
}

// WriteText writes all of the shield, with what became of every packet.
func (s ShieldStatus) WriteText(w io.Writer) error {
	var b bytes.Buffer
	writeRows(&b, s.rows())
	if len(s.Verdicts) > 0 {
		b.WriteByte('\n')
		writeVerdicts(&b, s.Verdicts)
	}
	_, err := b.WriteTo(w)
	return err
}

func (s *ShieldStatus) rows() []row {
	rows := []row{{"Mode", []line{{Clean(s.Mode), s.Mode == shieldOff}}}}
	if !s.loaded() {
		return append(rows, row{"State", []line{{s.head(), true}}}, row{"Problem", s.ownProblem()})
	}
	var ports []line
	for _, i := range s.Interfaces {
		ports = append(ports, s.portText(i))
	}
	if ports == nil {
		ports = []line{{"none", true}}
	}
	return append(rows, row{"Devices", ports}, row{"Cookies", plainLine(s.cookies())},
		row{"SYNs", plainLine(s.SYNs.text("they are answered with cookies"))},
		row{"Strays", plainLine(s.Strays.text("they are dropped"))},
		row{"Listed", plainLine(prefixes(s.Listed))}, row{"Problem", s.ownProblem()})
}

// verdictTexts say in a few words what became of packets.
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

func writeVerdicts(b *bytes.Buffer, verdicts []ShieldVerdict) {
	names, packets := len("VERDICT"), len("PACKETS")
	for _, v := range verdicts {
		names = max(names, len(Clean(v.Verdict)))
		packets = max(packets, len(many(v.Packets)))
	}
	fmt.Fprintf(b, "%-*s  %*s  %9s  MEANING\n", names, "VERDICT", packets, "PACKETS", "SIZE")
	for _, v := range verdicts {
		text := fmt.Sprintf("%-*s  %*s  %9s  %s", names, Clean(v.Verdict), packets, many(v.Packets), size(octets(v.Bytes)), verdictTexts[v.Verdict])
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
}

// octets is n as size takes it.
func octets(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// many is count for what the kernel counts.
func many(n uint64) string { return count(octets(n)) }

// prefixes is "1 prefix", "2 prefixes".
func prefixes(n int) string {
	if n == 1 {
		return "1 prefix"
	}
	return count(int64(n)) + " prefixes"
}

// Lines is the shield in a few lines, those that are wrong with a mark, "!", in front.
func (s *ShieldStatus) Lines() []string {
	var lines []string
	for _, l := range s.text() {
		if l.Wrong {
			l.Text = "! " + l.Text
		}
		lines = append(lines, l.Text)
	}
	return lines
}
