package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// leave is Ctrl-], which detaches from a console.
const leave = 0x1d

// attach connects this terminal to the machine's console until Ctrl-].
func attach(ctx context.Context, state string) error {
	conn, err := dial(state)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "console\n"); err != nil {
		return err
	}
	restore, err := rawTerminal()
	if err != nil {
		return err
	}
	defer restore()
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(os.Stdout, conn)
		ended <- err
	}()
	go typeInto(conn, ended) // ends with the program at the latest
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// rawTerminal passes on each key of this terminal as it is typed. The returned function restores
// the terminal. Both do nothing if standard input is not a terminal.
func rawTerminal() (restore func(), err error) {
	in := int(os.Stdin.Fd())
	before, err := unix.IoctlGetTermios(in, unix.TCGETS)
	if err != nil {
		return func() {}, nil
	}
	fmt.Println("The machine's serial console. Ctrl-] leaves it.")
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(in, unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	return func() {
		_ = unix.IoctlSetTermios(in, unix.TCSETS, before)
		fmt.Println()
	}, nil
}

// typeInto copies standard input to conn until the key that detaches.
func typeInto(conn io.Writer, ended chan<- error) {
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
			return // the console's output may still be wanted
		}
		if err != nil {
			ended <- err
			return
		}
	}
}
