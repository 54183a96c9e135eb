package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// client is a stock SMTP client, not written for anymx.
type client struct {
	name string
	// can reports whether the client is installed and supports what a message needs.
	can func(need) bool
	// send sends the message in file and returns the reply to its data, such as "250 2.0.0 ...".
	send func(ctx context.Context, to endpoint, m message, file string) (string, error)
}

// endpoint is the listener that messages are sent to.
type endpoint struct {
	host string
	port string
	ca   string // file with the certificate to trust
	home string // HOME of the clients, so that they don't read the operator's settings
}

// sendTimeout limits one message; a slow machine needs seconds for 5 MB.
const sendTimeout = 60 * time.Second

// clients lists all clients, the preferred one first. The last is part of Go and always works.
var clients = []client{
	{name: "swaks", can: swaksCan, send: sendSwaks},
	{name: "curl", can: curlCan, send: sendCurl},
	{name: "python3", can: pythonCan, send: sendPython},
	{name: "net/smtp", can: func(need) bool { return true }, send: sendGo},
}

// choose returns the first client that supports what a message needs, or only the one with the
// name if one is given.
func choose(name string, what need) (client, error) {
	for _, c := range clients {
		if (name == "" || name == c.name) && c.can(what) {
			return c, nil
		}
	}
	return client{}, fmt.Errorf("-client %s: it is not installed, or does not support what this message needs", name)
}

// swaksCan reports false for SMTPUTF8, which swaks lacks. TLS needs a Perl module.
func swaksCan(what need) bool {
	switch what {
	case smtputf8:
		return false
	case starttls:
		out, err := exec.Command("swaks", "--support").Output()
		return err == nil && strings.Contains(string(out), "TLS supported")
	}
	_, err := exec.LookPath("swaks")
	return err == nil
}

// sendSwaks removes the last line end, because swaks adds its own.
func sendSwaks(ctx context.Context, to endpoint, m message, _ string) (string, error) {
	args := []string{
		"--server", to.host, "--port", to.port, "--ehlo", "client.example.org",
		"--from", m.from, "--to", m.to, "--data", "-", "--suppress-data",
	}
	if m.needs == starttls {
		args = append(args, "--tls", "--tls-verify", "--tls-ca-path", to.ca)
	}
	return sendBy(ctx, to, bytes.TrimSuffix(m.data, []byte("\r\n")), "swaks", args...)
}

// curlCan asks curl for its features: it may be built without SMTP or TLS.
func curlCan(what need) bool {
	out, err := exec.Command("curl", "-q", "--version").Output()
	return err == nil && curlFeatures(string(out), what)
}

// curlFeatures reads the output of `curl --version`. SMTPUTF8 came with 7.69.
func curlFeatures(out string, what need) bool {
	var major, minor int
	if _, err := fmt.Sscanf(out, "curl %d.%d", &major, &minor); err != nil {
		return false
	}
	words := strings.Fields(out)
	has := func(word string) bool {
		for _, w := range words {
			if w == word {
				return true
			}
		}
		return false
	}
	switch {
	case !has("smtp"):
		return false
	case what == smtputf8:
		return major > 7 || major == 7 && minor >= 69
	case what == starttls:
		return has("SSL")
	}
	return true
}

func sendCurl(ctx context.Context, to endpoint, m message, file string) (string, error) {
	args := []string{
		"-q", "-sS", "-v", "--noproxy", "*", "--url", "smtp://" + net.JoinHostPort(to.host, to.port) + "/client.example.org",
		"--mail-from", m.from, "--mail-rcpt", m.to, "--upload-file", file,
	}
	if m.needs == starttls {
		args = append(args, "--ssl-reqd", "--cacert", to.ca)
	}
	return sendBy(ctx, to, nil, "curl", args...)
}

func pythonCan(need) bool {
	return exec.Command("python3", "-I", "-c", "import smtplib, ssl").Run() == nil
}

// pythonSend prints the dialogue in the form that the other clients use.
const pythonSend = `
import smtplib, ssl, sys
host, port, sender, to, file, ca, utf8, tls = sys.argv[1:]
client = smtplib.SMTP(host, int(port), "client.example.org", timeout=60)
if tls:
    client.starttls(context=ssl.create_default_context(cafile=ca))
client.ehlo()
if utf8:
    client.command_encoding = "utf-8"
for code, text in (client.mail(sender, ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []), client.rcpt(to)):
    if code != 250:
        sys.exit("%d %s" % (code, text.decode()))
code, text = client.data(open(file, "rb").read())
print("<- %d %s" % (code, text.decode()))
print("-> QUIT")
client.quit()
`

func sendPython(ctx context.Context, to endpoint, m message, file string) (string, error) {
	flag := func(what need) string {
		if m.needs == what {
			return "yes"
		}
		return ""
	}
	return sendBy(ctx, to, nil, "python3", "-I", "-c", pythonSend,
		to.host, to.port, m.from, m.to, file, to.ca, flag(smtputf8), flag(starttls))
}

// sendBy runs a client that prints its dialogue and returns the reply to the message.
func sendBy(ctx context.Context, to endpoint, stdin []byte, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+to.home, "SWAKS_HOME="+to.home, "LC_ALL=C.UTF-8")
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	reply := dataReply(string(out))
	if !strings.HasPrefix(reply, "250") {
		return "", fmt.Errorf("%s printed no 250 reply to the message:\n%s", name, out)
	}
	return reply, nil
}

var (
	replyLine = regexp.MustCompile(`^\s*<[-~]?\s+(\d{3} .*)$`)
	quitLine  = regexp.MustCompile(`^\s*[-~]?>\s+QUIT`)
)

// dataReply returns the last reply before QUIT in a client's dialogue.
func dataReply(dialogue string) string {
	var last string
	for line := range strings.Lines(dialogue) {
		line = strings.TrimRight(line, "\r\n")
		if quitLine.MatchString(line) {
			break
		}
		if found := replyLine.FindStringSubmatch(line); found != nil {
			last = found[1]
		}
	}
	return last
}

// sendGo sends with Go's net/smtp. Its Client hides the reply to DATA, so sendGo writes that command
// itself.
func sendGo(ctx context.Context, to endpoint, m message, _ string) (reply string, err error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(to.host, to.port))
	if err != nil {
		return "", err
	}
	if err := conn.SetDeadline(time.Now().Add(sendTimeout)); err != nil {
		return "", errors.Join(err, conn.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c, err := smtp.NewClient(conn, to.host)
	if err != nil {
		return "", errors.Join(err, conn.Close())
	}
	defer func() {
		if err != nil {
			_ = c.Close() // the first error counts
		}
	}()
	if err := c.Hello("client.example.org"); err != nil {
		return "", err
	}
	if m.needs == starttls {
		pem, err := os.ReadFile(to.ca)
		if err != nil {
			return "", err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		if err := c.StartTLS(&tls.Config{ServerName: to.host, RootCAs: roots}); err != nil {
			return "", err
		}
	}
	if err := errors.Join(c.Mail(m.from), c.Rcpt(m.to)); err != nil {
		return "", err
	}
	if err := c.Text.PrintfLine("DATA"); err != nil {
		return "", err
	}
	if _, _, err := c.Text.ReadResponse(354); err != nil {
		return "", err
	}
	w := c.Text.DotWriter()
	if _, err := bytes.NewReader(m.data).WriteTo(w); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	code, text, err := c.Text.ReadResponse(250)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s", code, text), c.Quit()
}
