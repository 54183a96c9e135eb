package controltest

import (
	"net"
	"testing"
	"time"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
)

func listenTCP(t testing.TB, wanted bool) (net.Listener, string) {
	t.Helper()
	if !wanted {
		return nil, ""
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, "http://" + l.Addr().String()
}

func ago(d time.Duration) time.Time { return Now.Add(-d) }

// sampleStatus returns a node in service, one of whose two core addresses is down.
func sampleStatus() api.Status {
	return api.Status{
		Name: "ams1", Region: "eu-west", Hostname: "mx.example.net", Version: "v0.1.0",
		PID: 4711, Phase: api.Running, Since: ago(76*time.Hour + 12*time.Minute), Started: ago(76*time.Hour + 12*time.Minute),
		Sessions: api.SessionsStatus{Open: 1234, Limit: 20000},
		Spool: api.SpoolStatus{
			Messages: 5, Bytes: 6<<20 + 345<<10, MaxMessages: 1000000, HighWater: 20 << 30,
			DiskFree: 81 << 30, DiskReserve: 1 << 30, Accepting: true,
		},
		Core: []api.CoreStatus{
			{Address: "10.77.0.1:2525", Health: api.Up, Connections: 4, Limit: 16, Delivered: 1843022, Extensions: []string{"SMTPUTF8", "8BITMIME"}},
			{Address: "10.77.0.2:2525", Health: api.Down, Limit: 16, RetryAt: Now.Add(8 * time.Second),
				LastError: "dial tcp 10.77.0.2:2525: connect: connection refused", Delivered: 90211, Extensions: []string{"8BITMIME"}},
		},
		TLS:    &api.TLSStatus{Names: []string{"mx.example.net", "*.mx.example.net"}, NotAfter: Now.Add(62*24*time.Hour + time.Hour)},
		Config: &api.ConfigStatus{File: "/etc/anymx/anymx.toml", Loaded: ago(50 * time.Hour)},
	}
}

func path(s string) mail.Path {
	if s == "" {
		return mail.Path{}
	}
	p, err := mail.ParsePath(s)
	if err != nil {
		panic(err)
	}
	return p
}

// Message returns the nth sample message from its sender to its recipients, all of them pending:
// inbound, waiting, attempted once.
func Message(n int, age time.Duration, size int64, sender string, to ...string) api.QueueDetail {
	d := api.QueueDetail{
		QueueItem: api.QueueItem{
			ID: ID(n), State: api.Waiting, Arrived: ago(age), Size: size, Sender: path(sender), Recipient: path(to[0]),
			Recipients: len(to), Pending: len(to), Attempts: 1, NextAttempt: Now.Add(23 * time.Second),
		},
		LastAttempt: ago(age), Expires: ago(age).Add(5 * 24 * time.Hour), Origin: "inbound", Body: "8BITMIME",
		Client: api.ClientDetail{
			Address: "198.51.100.7:48212", Service: "192.0.2.25:25", Name: "out7.example.org", Helo: "out7.example.org",
			Proto: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
		},
	}
	for _, r := range to {
		d.To = append(d.To, api.RecipientDetail{Address: path(r), Progress: api.Pending})
	}
	return d
}

// fail records the last failure of recipient i and of the message.
func fail(d *api.QueueDetail, i int, at time.Time, text string) {
	d.LastFailure, d.To[i].Last, d.To[i].At = text, text, at
}

// sampleMessages returns messages in all states of a queue: waiting after several attempts with one
// recipient delivered, a notification, held, active, and one with hostile texts.
func sampleMessages() []api.QueueDetail {
	slow := Message(1, 26*time.Hour, 8321, "news@lists.example.org", "alice@example.net", "bob@example.net", "carol@example.net")
	slow.Attempts, slow.NextAttempt, slow.LastAttempt, slow.Pending = 17, Now.Add(41*time.Minute), ago(19*time.Minute), 2
	slow.Recipient = path("bob@example.net")
	slow.To[0].Progress, slow.To[0].Last, slow.To[0].At = api.Delivered, "250 2.0.0 stored", ago(26*time.Hour)
	fail(&slow, 1, ago(19*time.Minute), "10.77.0.1:2525: RCPT: temporary failure: 452 4.2.2 mailbox full")
	slow.To[1].Notify, slow.To[1].ORcpt = "DELAY,FAILURE", "rfc822;bob@example.net"
	slow.EnvID, slow.Return = "QQ314159", "HDRS"

	notice := Message(2, 3*time.Hour, 2911, "", "dave@example.net")
	notice.Attempts, notice.NextAttempt, notice.Origin, notice.Body = 9, ago(2*time.Second), "local", "7BIT"
	notice.Client, notice.NoDSN = api.ClientDetail{}, true
	fail(&notice, 0, ago(4*time.Minute), "CONNECT: temporary failure: 4.4.1 connection refused")

	held := Message(3, 47*time.Minute, 6<<20, "billing@shop.example.com", "erin@example.net")
	held.State, held.HoldReason, held.NextAttempt = api.Held, "looked at by abuse desk", time.Time{}

	active := Message(4, 900*time.Millisecond, 40120, "frank@example.org", "grace@example.net")
	active.State, active.NextAttempt, active.SMTPUTF8, active.RequireTLS = api.Active, time.Time{}, true, true

	hostile := Message(5, 12*time.Minute, 512, "\"look here\"@example.com", "heidi@example.net")
	hostile.Attempts, hostile.Client.Helo = 4, "\x1b[2J\x1b]0;owned\x07"
	fail(&hostile, 0, ago(2*time.Minute), "10.77.0.1:2525: DATA: temporary failure: 451 \x1b[31mred\u009b alert")
	return []api.QueueDetail{slow, notice, held, active, hostile}
}
