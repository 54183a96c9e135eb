package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// startTestSink runs a sink in this process until the test ends.
func startTestSink(t *testing.T) (*tally, string) {
	t.Helper()
	tl := newTally()
	s, err := newSink("127.0.0.1:0", tl)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); s.serve() }()
	t.Cleanup(func() {
		s.close()
		<-served
	})
	return tl, s.listener.Addr().String()
}

// converse writes the whole input at once and returns everything that the sink replies until it closes.
func converse(t *testing.T, address, input string) []string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte(input)); err != nil {
		t.Fatal(err)
	}
	var lines []string
	scan := bufio.NewScanner(conn)
	for scan.Scan() {
		lines = append(lines, scan.Text()[:3])
	}
	return lines
}

func TestSinkPipelined(t *testing.T) {
	body := "A: b\r\n\r\n..one\r\ntwo\r\n" // 11 bytes of body before stuffing
	for _, c := range []struct {
		name    string
		input   string
		codes   string
		want    counts
		content int64
	}{
		{
			"two messages and QUIT in one write",
			group(10) + body + endDot + group(11) + body + endDot + quit,
			"220 250 250 354 250 250 250 354 250 221", counts{Messages: 2, Content: 22}, 22,
		},
		{
			"BDAT in one chunk",
			bdat(10, "A: b\r\n\r\n..one\r\ntwo\r\n") + quit, // not stuffed: 12 bytes
			"220 250 250 250 221", counts{Messages: 1, Content: 12}, 12,
		},
		{
			"BDAT in three chunks, cut inside the blank line",
			strings.TrimSuffix(group(10), "DATA\r\n") +
				"BDAT 7\r\nA: b\r\n\rBDAT 3\r\n\nonBDAT 3 LAST\r\ne\r\n" + quit,
			"220 250 250 250 250 250 221", counts{Messages: 1, Content: 5}, 5,
		},
		{
			"BDAT 0 LAST",
			strings.TrimSuffix(group(10), "DATA\r\n") + "BDAT 11\r\nA: b\r\n\r\nxyzBDAT 0 LAST\r\n" + quit,
			"220 250 250 250 250 221", counts{Messages: 1, Content: 3}, 3,
		},
		{
			"a message comes twice",
			group(10) + body + endDot + group(10) + body + endDot + quit,
			"220 250 250 354 250 250 250 354 250 221", counts{Messages: 1, Content: 11, Duplicates: 1}, 11,
		},
		{
			"another round's message, and one without number",
			group(99) + body + endDot + "MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n" + body + endDot + quit,
			"220 250 250 354 250 250 250 354 250 221", counts{Strays: 2}, 0,
		},
		{
			"RSET drops the recipient",
			"MAIL FROM:<>\r\nRCPT TO:<r0000000010@example.net>\r\nRSET\r\nNOOP\r\n" + group(11) + body + endDot + quit,
			"220 250 250 250 250 250 250 354 250 221", counts{Messages: 1, Content: 11}, 11,
		},
		{
			"unknown command, HELO",
			"WHAT\r\n\r\nHELO x\r\n" + quit,
			"220 500 500 250 221", counts{}, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl, address := startTestSink(t)
			tl.beginRound(10, 3)
			codes := strings.Join(converse(t, address, c.input), " ")
			if codes != c.codes {
				t.Errorf("got %s, want %s", codes, c.codes)
			}
			got := tl.current()
			got.DoneAt = 0
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func group(id uint64) string { return string(appendGroup(nil, id, 100)) }

func bdat(id uint64, message string) string {
	return strings.TrimSuffix(group(id), "DATA\r\n") + fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), message)
}

func TestSinkOffers(t *testing.T) {
	_, address := startTestSink(t)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "EHLO x\r\nQUIT\r\n")
	var all strings.Builder
	for scan := bufio.NewScanner(conn); scan.Scan(); {
		all.WriteString(scan.Text() + "\n")
	}
	for _, want := range []string{"PIPELINING", "8BITMIME", "SIZE", "CHUNKING", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("EHLO does not offer %s:\n%s", want, all.String())
		}
	}
}

func TestSinkNotesABrokenMessage(t *testing.T) {
	tl, address := startTestSink(t)
	tl.beginRound(1, 1)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "%sA: b\r\n", group(1))
	conn.Close()
	deadline := time.Now().Add(5 * time.Second)
	for tl.current().Broken == 0 {
		if time.Now().After(deadline) {
			t.Fatal("a connection that ended inside DATA was not noted")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := tl.current(); got.Messages != 0 {
		t.Errorf("half a message was counted: %+v", got)
	}
}

func TestTallyWaitGivesUp(t *testing.T) {
	tl := newTally()
	tl.beginRound(1, 2)
	tl.arrived(1, true, 5)
	if err := tl.wait(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("got %v, want a word about 1 of 2 messages", err)
	}
	tl.arrived(2, true, 5)
	if err := tl.wait(time.Second); err != nil {
		t.Error(err)
	}
	if tl.current().DoneAt == 0 {
		t.Error("the end of the round has no time")
	}
}

func TestSinkProcess(t *testing.T) {
	p, err := startSink()
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if err := p.beginRound(10, 1); err != nil {
		t.Fatal(err)
	}
	converse(t, p.address, bdat(10, "A: b\r\n\r\nbody\r\n")+quit)
	got, err := p.wait(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got.Messages != 1 || got.Content != 6 || got.DoneAt == 0 || got.CPU == 0 {
		t.Errorf("got %+v", got)
	}
}
