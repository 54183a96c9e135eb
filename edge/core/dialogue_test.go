package core

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"anymx/tests/kit"
)

// TestDialogues runs the stories in testdata/dialogues. A line of a story is
//
//	# a comment
//	server KEY=VALUE ...   before the first connection: max (bytes), recipients
//	smtp NAME, lmtp NAME   connects, or switches to that connection
//	C: BYTES               sent unchanged, with \r \n \t \0 \xHH \\ and {x*N} for
//	                       N times x; C lines in a row go out in one write
//	S: LINE                the server's next line, in which * matches anything
//	reply CODE             a whole reply, of any number of lines
//	expect-close           the server closes, and says nothing more
//	close                  by the client
//	restart                of the server; connections end
//	name BOX PATTERN       the only message in new/ of a mailbox has this name
//	trace BOX PATTERN      its Return-Path and Received, unfolded
//	M: BOX BYTES           its content, after the trace
//	count BOX N            the number of messages in new/ of a mailbox
//	move BOX               to cur/, as a mail reader does
//	delete BOX             what is in new/ and cur/
//	box BOX                a mailbox that exists; all must be listed
//	log PATTERN            a line of the server's log
//
// At the end of a story .incoming must be empty.
func TestDialogues(t *testing.T) {
	kit.EachStory(t, "testdata/dialogues/*.txt", func(text kit.Story) {
		s := &story{Story: text, t: text.T, clients: map[string]*client{}}
		s.play()
	})
}

type story struct {
	kit.Story
	t       *testing.T
	options Options
	node    *node
	clients map[string]*client
	now     *client
	told    []string
}

func (s *story) play() {
	s.Play(s.step, func(b []byte) { s.now.send(string(b)) })
	for _, c := range s.clients {
		_ = c.conn.Close()
	}
	if s.node == nil {
		s.Fatal("nothing happens")
	}
	kit.Eventually(s.t, "no message is being stored", func() bool { return s.node.incomingFiles() == 0 })
	if got, want := fmt.Sprintf("%q", s.node.boxes()), fmt.Sprintf("%q", s.told); s.told != nil && got != want {
		s.Fatal("mailboxes %s, want %s", got, want)
	}
}

func (s *story) step(word, rest string) {
	if word == "server" {
		s.configure(rest)
		return
	}
	if s.node == nil {
		s.node = start(s.t, s.options)
	}
	arg, more, _ := strings.Cut(rest, " ")
	switch word {
	case "smtp":
		s.connect(arg, s.node.smtp)
	case "lmtp":
		s.connect(arg, s.node.lmtp)
	case "S:":
		got, err := s.now.r.ReadString('\n')
		if err != nil {
			s.Fatal("%q, %v; want %q", got, err, rest)
		}
		s.Expect(strings.TrimSuffix(got, "\r\n"), rest)
	case "reply":
		if got, err := s.now.reply(); err != nil || !strings.HasPrefix(got, rest) {
			s.Fatal("%q, %v; want %s", got, err, rest)
		}
	case "expect-close":
		s.now.closed()
	case "close":
		_ = s.now.conn.Close()
	case "restart":
		s.node = s.node.restart()
		clear(s.clients)
	case "log":
		for logged := range strings.Lines(s.node.log.String()) {
			if kit.Pattern(rest).MatchString(strings.TrimSuffix(logged, "\n")) {
				return
			}
		}
		s.Fatal("not in the log:\n%s", s.node.log)
	case "box":
		s.told = append(s.told, string(s.Unescape(rest)))
	default:
		s.mailbox(word, string(s.Unescape(arg)), more)
	}
}

// mailbox runs the steps that check a mailbox.
func (s *story) mailbox(word, box, rest string) {
	files := s.node.files(box, "new")
	if (word == "name" || word == "trace" || word == "M:") && len(files) != 1 {
		s.Fatal("%d messages in %s", len(files), box)
	}
	switch word {
	case "name":
		s.Expect(filepath.Base(files[0]), rest)
	case "trace":
		data, err := os.ReadFile(files[0])
		if err != nil {
			s.Fatal("%v", err)
		}
		unfolded := strings.NewReplacer("\r\n\t", " ", "\r\n", "|").Replace(string(trace.Find(data)))
		s.Expect(unfolded, rest)
	case "M:":
		if got, want := content(s.t, files[0]), string(s.Unescape(rest)); got != want {
			s.Fatal("stored %q, want %q", got, want)
		}
	case "count":
		if strconv.Itoa(len(files)) != rest {
			s.Fatal("%d messages, want %s", len(files), rest)
		}
	case "move":
		for _, file := range files {
			to := filepath.Join(filepath.Dir(filepath.Dir(file)), "cur", filepath.Base(file)+":2,S")
			if err := os.Rename(file, to); err != nil {
				s.Fatal("%v", err)
			}
		}
	case "delete":
		for _, file := range append(files, s.node.files(box, "cur")...) {
			if err := os.Remove(file); err != nil {
				s.Fatal("%v", err)
			}
		}
	default:
		s.Fatal("what is %q?", word)
	}
}

func (s *story) configure(text string) {
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(value)
		if err != nil {
			s.Fatal("%v", err)
		}
		switch key {
		case "max":
			s.options.MaxMessage = int64(n)
		case "recipients":
			s.options.MaxRecipients = n
		default:
			s.Fatal("what is %q?", key)
		}
	}
}

func (s *story) connect(name, addr string) {
	if s.clients[name] == nil {
		s.clients[name] = dial(s.t, addr)
	}
	s.now = s.clients[name]
}
