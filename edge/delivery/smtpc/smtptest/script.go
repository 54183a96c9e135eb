package smtptest

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

//go:embed faults.txt
var faults string

// Script holds a server's replies to its first message, and the outcome that each recipient must
// have.
type Script struct {
	Name    string
	LMTP    bool
	Chunked bool     // the server offers CHUNKING: the message comes in the group
	Has     []bool   // for each recipient, whether the message was stored
	Outcome string   // for each recipient: d delivered, a attempted again, b bounced
	Replies []string // as in faults.txt
	Then    string   // "open", "close" or "hang"
}

// Scripts returns the scripts of faults.txt.
func Scripts() ([]Script, error) {
	var all []Script
	for i, line := range strings.Split(faults, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if len(words) < 6 {
			return nil, fmt.Errorf("faults.txt:%d: too short", i+1)
		}
		protocol, way, _ := strings.Cut(words[1], "-")
		s := Script{
			Name: words[0], LMTP: protocol == "lmtp", Chunked: way == "bdat", Outcome: words[3],
			Replies: words[4 : len(words)-1], Then: words[len(words)-1],
		}
		for _, c := range words[2] {
			s.Has = append(s.Has, c == '1')
		}
		if len(s.Has) != len(s.Outcome) || !slices.Contains([]string{"open", "close", "hang"}, s.Then) {
			return nil, fmt.Errorf("faults.txt:%d: outcome or end is wrong", i+1)
		}
		all = append(all, s)
	}
	return all, nil
}

// Extensions returns the extensions that the server offers.
func (s *Script) Extensions() []string {
	if s.Chunked {
		return []string{"PIPELINING", "CHUNKING"}
	}
	return []string{"PIPELINING"}
}

// Bounces returns how many recipients bounce.
func (s *Script) Bounces() int { return strings.Count(s.Outcome, "b") }

// playScript reads a group that begins with line, replies as the script says, and reports whether
// the session continues.
func (x *session) playScript(script *Script, line string) bool {
	var rcpts []string
	for {
		verb, arg, _ := strings.Cut(line, " ")
		switch verb {
		case "RCPT":
			rcpts = append(rcpts, strings.TrimPrefix(arg, "TO:"))
		case "BDAT":
			size, _, _ := strings.Cut(arg, " ")
			n, _ := strconv.ParseInt(size, 10, 64)
			if _, err := io.CopyN(io.Discard, x.r, n); err != nil {
				return false
			}
		}
		if verb == "BDAT" || verb == "DATA" {
			break
		}
		next, err := x.r.ReadString('\n')
		if err != nil {
			return false
		}
		line = strings.TrimRight(next, "\r\n")
	}
	for i, rcpt := range rcpts {
		if script.Has[i] {
			x.s.store(Message{Conn: x.number, To: []string{rcpt}})
		}
	}
	for _, reply := range script.Replies {
		switch reply {
		case "/":
			if x.w.Flush() != nil || !x.skipMessage() {
				return false
			}
		case "cut":
			x.w.WriteString("250-2.0.0 and")
		case "garbage":
			x.w.WriteString("\x16\x03\x01 garbage\r\n")
		default:
			code := strings.TrimPrefix(reply, "-")
			fmt.Fprintf(x.w, "%s %c.0.0 scripted\r\n", code, code[0])
		}
	}
	if x.w.Flush() != nil || script.Then == "close" {
		return false
	}
	if script.Then == "hang" {
		_, _ = io.Copy(io.Discard, x.r)
		return false
	}
	x.reset()
	return true
}

func (x *session) skipMessage() bool {
	for {
		line, err := x.r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			return true
		}
	}
}
