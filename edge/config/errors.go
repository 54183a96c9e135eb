package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a config.
type Problem struct {
	// File is the name that was given to Parse; empty where the config did not come from a file.
	File string `json:"file"`
	// Line counts from 1. A key that is missing has the line of its section, or 1 where the section
	// is missing too. 0 where the config did not come from a file.
	Line int `json:"line"`
	// Column counts bytes from 1; 0 like Line.
	Column int `json:"column"`
	// Key is the dotted path, with the index from 0 of elements: "domain[2].name". Empty for a
	// syntax error outside any key or section.
	Key string `json:"key"`
	// Reason says what is wrong and what would be right, in plain words.
	Reason string `json:"reason"`
}

// Error renders the problem as one line, file:line:key: reason.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":" + strconv.Itoa(p.Line) + ":")
		if p.Key == "" {
			b.WriteString(" ")
		}
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Reason)
	return b.String()
}

// Errors is every problem of one config, in the order of the file. It is never empty.
type Errors struct {
	Problems []Problem `json:"problems"`
}

// Error renders one line for each problem, without a newline at the end.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the problems, each of which is an error of type Problem.
func (e *Errors) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

// newErrors names the file in each problem and puts them in the order of the file.
func newErrors(file string, problems []Problem) *Errors {
	for i := range problems {
		problems[i].File = file
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key))
	})
	return &Errors{Problems: problems}
}
