package smtptest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// Greets connects to address and returns nil if an SMTP server says 220 there.
func Greets(ctx context.Context, address string) error {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	banner, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(banner, "220") {
		return fmt.Errorf("banner %q", banner)
	}
	_, err = conn.Write([]byte("QUIT\r\n"))
	return err
}
