package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"anymx/tests/lab"
)

// longest limits how long floods or calls may run.
const longest = time.Minute

// flood sends forged segments to PoP a: "syn" or "ack", the duration, and the rate per second;
// without a rate, as fast as possible.
func flood(ctx context.Context, args []string) error {
	o := lab.Flood{Most: 10 * time.Second}
	var err error
	if len(args) > 0 {
		o.Flags = map[string]byte{"syn": lab.SYN, "ack": lab.ACK}[args[0]]
	}
	if len(args) > 1 {
		o.Most, err = period(args[1])
	}
	if len(args) > 2 && err == nil {
		o.Rate, err = strconv.Atoi(args[2])
	}
	if err != nil || o.Flags == 0 || o.Rate < 0 || len(args) > 3 {
		return fmt.Errorf("lab-flood syn|ack [TIME [RATE]], such as lab-flood syn 15s 200000; at most %s", longest)
	}
	sent, err := lab.FloodAgain(ctx, lab.Person, o)
	fmt.Printf("%d packets in %s, %.0f a second\n", sent.Packets, sent.Took.Round(time.Millisecond), sent.Rate())
	return err
}

// calls connects from client-a for some time and reports the result.
func calls(ctx context.Context, args []string) error {
	took, err := 10*time.Second, error(nil)
	if len(args) > 0 {
		took, err = period(args[0])
	}
	if err != nil || len(args) > 1 {
		return fmt.Errorf("lab-calls [TIME], such as lab-calls 20s; at most %s", longest)
	}
	ctx, cancel := context.WithTimeout(ctx, took)
	defer cancel()
	c, err := lab.CallAgain(ctx, lab.Person, lab.Calls{Rate: 100})
	fmt.Println(c)
	return err
}

func period(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && (d <= 0 || d > longest) {
		err = fmt.Errorf("%s is not more than 0 and at most %s", d, longest)
	}
	return d, err
}
