package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// letter returns a message for b@example.net, identified by its subject.
func letter(subject string) string {
	return "From: a@example.com\r\nTo: b@example.net\r\nSubject: " + subject + "\r\n\r\nA message to an anycast address.\r\n"
}

// converse sends a message over a connection and reports what both sides say. It returns the reply
// to the message.
func converse(conn net.Conn, text string, tell func(line string)) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	last := ""
	for _, step := range []struct{ say, show, want string }{
		{"", "", "220"},
		{"EHLO client.example.com\r\n", "EHLO client.example.com", "250"},
		{"MAIL FROM:<a@example.com>\r\n", "MAIL FROM:<a@example.com>", "250"},
		{"RCPT TO:<b@example.net>\r\n", "RCPT TO:<b@example.net>", "250"},
		{"DATA\r\n", "DATA", "354"},
		{text + ".\r\n", fmt.Sprintf("(the message, %d bytes)", len(text)), "250"},
	} {
		if step.say != "" {
			tell("> " + step.show)
			if _, err := conn.Write([]byte(step.say)); err != nil {
				return "", err
			}
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return "", fmt.Errorf("the node's answer: %w", err)
			}
			last = strings.TrimRight(line, "\r\n")
			if len(last) < 4 || last[3] == ' ' { // skip all but the last line of EHLO's reply
				tell("< " + last)
				break
			}
		}
		if !strings.HasPrefix(last, step.want) {
			return "", fmt.Errorf("the node answers %q", last)
		}
	}
	_, err := conn.Write([]byte("QUIT\r\n"))
	return last, err
}

// find waits up to limit until a message is in a Maildir.
func find(ctx context.Context, maildir, subject string, limit time.Duration) (file string, err error) {
	deadline := time.Now().Add(limit)
	for {
		files, err := os.ReadDir(filepath.Join(maildir, "new"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		for _, f := range slices.Backward(files) {
			text, err := os.ReadFile(filepath.Join(maildir, "new", f.Name()))
			if err == nil && strings.Contains(string(text), "Subject: "+subject+"\r\n") {
				return filepath.Join(maildir, "new", f.Name()), nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("core does not have it after %s", limit)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// headers returns the beginning of a message, up to the empty line.
func headers(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	head, _, _ := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n\n")
	return head
}
