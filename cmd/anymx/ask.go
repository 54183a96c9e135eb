package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"anymx/edge/control"
)

// ask makes sure that a person means to delete what q means. It need not ask
// for nothing.
func (p *program) ask(ctx context.Context, c *control.Client, q control.QueueQuery) error {
	if !p.terminal() {
		return usagef("delete --all asks before it deletes, and nobody can answer here: add --yes if you mean it")
	}
	n, err := c.Count(ctx, q)
	if err != nil || n == 0 {
		return err
	}
	fmt.Fprintf(p.errOut, "Delete %s for good? Nobody is told. Type yes to go on: ", control.Messages(n))
	typed := make(chan string, 1) // a read can't be cancelled; the process ends with it
	go func() {
		line, _ := bufio.NewReader(p.in).ReadString('\n')
		typed <- strings.TrimSpace(line)
	}()
	select {
	case line := <-typed:
		if strings.EqualFold(line, "yes") {
			return nil
		}
		fmt.Fprintln(p.errOut, "anymx: nothing was deleted")
		return &answered{exitNo}
	case <-ctx.Done():
		fmt.Fprintln(p.errOut)
		return ctx.Err()
	}
}

// isTerminal says whether a person can answer on f.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
