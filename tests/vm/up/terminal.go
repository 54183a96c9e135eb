package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// leave is Ctrl-], which ends a console.
const leave = 0x1d

// attach connects this terminal with the machine's console until Ctrl-].
func attach(ctx context.Context, state string) error {
	conn, err := dial(state)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "console\n"); err != nil {
		return err
	}
	in := int(os.Stdin.Fd())
	if before, err := unix.IoctlGetTermios(in, unix.TCGETS); err == nil {
		fmt.Println("The machine's serial console. Ctrl-] leaves it.")
		raw := *before
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(in, unix.TCSETS, &raw); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		defer func() {
			_ = unix.IoctlSetTermios(in, unix.TCSETS, before)
			fmt.Println()
		}()
	}
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(os.Stdout, conn)
		ended <- err
	}()
	go func() { // ends with the program, if not before
		b := make([]byte, 256)
		for {
			n, err := os.Stdin.Read(b)
			for i := range n {
				if b[i] == leave {
					ended <- nil
					return
				}
			}
			if n > 0 {
				if _, err := conn.Write(b[:n]); err != nil {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return // what the console says may still be wanted
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}
