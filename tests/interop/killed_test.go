package interop

import (
	"fmt"
	"net/smtp"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// TestPostfixWhileEdgeIsKilled: the edge is stopped once and killed three
// times while Postfix sends. All messages arrive. The embedded core has what
// Postfix has seen a 250 for once, under the id of that 250; there is another
// copy only where Postfix lost the connection between a message's end and the
// answer.
func TestPostfixWhileEdgeIsKilled(t *testing.T) {
	t.Parallel()
	needServer(t, "postconf", "postfix")
	p := pop.Start(t, pop.Options{CoreConfig: "backoff_max = \"1s\"\n"})
	box := coreBox(p, "b@example.net")
	jobs := sendWhileKilled(t, p, 200, box)

	inCore := map[string][]string{} // spool ids by message
	for _, m := range mailbox(t, box, len(filesIn(t, box))) {
		number := strings.TrimPrefix(m.subject(), "number ")
		_, id, _ := strings.Cut(strings.TrimSuffix(m.name, ".test1"), ".I")
		inCore[number] = append(inCore[number], id)
		m.trace(t, numberedLetter(t, number))
	}
	again := 0
	for _, j := range jobs {
		ids := inCore[j.number]
		if len(j.sent) != 1 || !slices.Contains(ids, j.sent[0]) || len(ids) > 1+j.lost {
			t.Errorf("message %s: Postfix was told the ids %q and lost %d answers, core has %q", j.number, j.sent, j.lost, ids)
		}
		again += len(ids) - 1
	}
	t.Logf("%d messages are in core, and %d copies whose 250 Postfix has not seen", len(inCore), again)
}

// TestPostfixToPostfixWhileEdgeIsKilled: with Postfix as core too, which can't
// tell a repeated message, all arrive at least once, and core has seen each id
// that the sender was told.
func TestPostfixToPostfixWhileEdgeIsKilled(t *testing.T) {
	t.Parallel()
	core := &postfix{hostname: "core.test", users: []string{"b@example.net"}}
	core.start(t)
	p := pop.Start(t, pop.Options{Core: core.addr, CoreConfig: "backoff_max = \"1s\"\n"})
	box := core.mailbox("b@example.net")
	jobs := sendWhileKilled(t, p, 150, box)

	seen, err := os.ReadFile(core.log)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, j := range jobs {
		missing[j.number] = true
		if len(j.sent) != 1 || !strings.Contains(string(seen), "orig_queue_id="+j.sent[0]+".test1") {
			t.Errorf("message %s: Postfix was told the ids %q, which core has not seen", j.number, j.sent)
		}
	}
	lost, read := 0, map[string]bool{}
	kit.Within(patience, func() bool { // core has a queue of its own
		for _, name := range filesIn(t, box) {
			if !read[name] {
				read[name] = true
				m := load(t, box, name)
				number := strings.TrimPrefix(m.subject(), "number ")
				m.trace(t, numberedLetter(t, number))
				delete(missing, number)
			}
		}
		return len(missing) == 0
	})
	if len(missing) > 0 {
		t.Errorf("%d messages are not in core: %v", len(missing), missing)
	}
	for _, j := range jobs {
		lost += j.lost
	}
	t.Logf("%d copies of %d messages; Postfix lost %d answers", len(read), len(jobs), lost)
}

// sendWhileKilled has Postfix send n messages, each told from all others by
// its Message-ID, through an edge that comes and goes, to the mailbox box. It
// returns when Postfix has seen a 250 for each, and the edge has handed all on.
func sendWhileKilled(t *testing.T, p *pop.PoP, n int, box string) []job {
	t.Helper()
	s := newSender(t, p.SMTP, "")
	ends := []func(){
		func() { p.Edge().Stop(patience) },
		func() { p.Edge().Kill() }, func() { p.Edge().Kill() }, func() { p.Edge().Kill() },
	}
	p.Edge().Kill()
	queued := 0
	for i, end := range ends { // each finds Postfix with a part of them to send
		part := n * (i + 1) / len(ends)
		queueMany(t, s.addr, queued, part)
		queued = part
		before := len(filesIn(t, box))
		p.StartEdge()
		s.flush(t)
		if !kit.Within(patience, func() bool { return len(filesIn(t, box)) >= before+10 }) {
			t.Fatalf("%d messages are in core, and no more come", before)
		}
		end()
	}
	p.StartEdge()
	var jobs []job
	var flushed time.Time
	if !kit.Within(patience, func() bool {
		if time.Since(flushed) > time.Second {
			s.flush(t)
			flushed = time.Now()
		}
		jobs = s.jobs(t)
		return len(jobs) == n && !slices.ContainsFunc(jobs, func(j job) bool { return len(j.sent) == 0 })
	}) {
		t.Fatalf("Postfix has not sent all: %+v", jobs)
	}
	p.AwaitEmpty(patience)
	return jobs
}

// job is a message of Postfix's queue, as its log tells of it.
type job struct {
	number string
	sent   []string // spool ids of its 250
	lost   int      // how often the answer to its end was not seen
}

var (
	jobLine  = regexp.MustCompile(`postfix/cleanup\[\d+\]: (\w+): message-id=<number\.(\d+)@`)
	sentLine = regexp.MustCompile(`postfix/smtp\[\d+\]: (\w+): to=<.* status=sent \(250 2\.0\.0 stored as (\w+)\)`)
	lostLine = regexp.MustCompile(`postfix/smtp\[\d+\]: (\w+): to=<.* status=deferred \(.*message may be sent more than once`)
)

// jobs are the messages of queueMany.
func (s *sender) jobs(t testing.TB) []job {
	t.Helper()
	text, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []job
	at := map[string]int{} // by Postfix's id
	for line := range strings.Lines(string(text)) {
		if m := jobLine.FindStringSubmatch(line); m != nil {
			at[m[1]] = len(jobs)
			jobs = append(jobs, job{number: m[2]})
		} else if m := sentLine.FindStringSubmatch(line); m != nil {
			j := &jobs[at[m[1]]]
			j.sent = append(j.sent, m[2])
		} else if m := lostLine.FindStringSubmatch(line); m != nil {
			jobs[at[m[1]]].lost++
		}
	}
	return jobs
}

// numberedLetter is a message that is told from all others of queueMany.
func numberedLetter(t testing.TB, number string) []byte {
	t.Helper()
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	size := 2000
	if n%20 == 0 {
		size = 200_000 // it gets a file of its own in the spool
	}
	return letter("number "+number, numbered(size))
}

// queueMany gives the messages from the number first to below end to Postfix,
// over one connection.
func queueMany(t testing.TB, addr string, first, end int) {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	do := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	for i := first; i < end; i++ {
		do(c.Mail("a@example.org"))
		do(c.Rcpt("b@example.net"))
		w, err := c.Data()
		do(err)
		_, err = w.Write(numberedLetter(t, fmt.Sprint(i)))
		do(err)
		do(w.Close())
	}
	do(c.Quit())
}
