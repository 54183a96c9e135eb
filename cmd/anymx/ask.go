package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

// ask makes sure that the user means to delete what q selects. It does not ask if that is nothing.
func (p *program) ask(ctx context.Context, c *control.Client, q api.QueueQuery) error {
	if !p.terminal() {
		return usagef("delete --all asks before it deletes, and nobody can answer here: add --yes if you mean it")
	}
	n, err := c.Count(ctx, q)
	if err != nil || n == 0 {
		return err
	}
	return p.confirm(ctx, fmt.Sprintf("Delete %s for good? Nobody is told. Type yes to go on: ", words.Messages(n)), "nothing was deleted")
}

// askYes asks the user whether to continue.
func (p *program) askYes(ctx context.Context, question string) error {
	if !p.terminal() {
		return usagef("this is asked about before it is done, and nobody can answer here: add --yes if you mean it")
	}
	return p.confirm(ctx, question, "nothing was done")
}

// confirm asks a question; refused says what happens unless the answer is yes.
func (p *program) confirm(ctx context.Context, question, refused string) error {
	fmt.Fprint(p.errOut, question)
	typed := make(chan string, 1) // a read can't be cancelled; it ends with the process
	go func() {
		line, _ := bufio.NewReader(p.in).ReadString('\n')
		typed <- strings.TrimSpace(line)
	}()
	select {
	case line := <-typed:
		if strings.EqualFold(line, "yes") {
			return nil
		}
		fmt.Fprintln(p.errOut, "anymx: "+refused)
		return &answered{exitNo}
	case <-ctx.Done():
		fmt.Fprintln(p.errOut)
		return ctx.Err()
	}
}

// isTerminal reports whether a person can answer on f.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
