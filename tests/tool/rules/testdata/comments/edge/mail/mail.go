package mail

import "fmt"

// Path has a comment.
type Path struct{ local string }

func (p Path) Local() string { return p.local }

func (p Path) String() string { return fmt.Sprint(p.local) } // fixed by the standard library

type Reply int

// Limits of RFC 5321 section 4.5.3.1.
const (
	MaxLine = 512
	MaxPath = 256
)

const (
	Low  = 1 // said at the end of the line
	High = 2
)

var Open, closed int

func Parse() {}

type hidden struct{}

func (hidden) Shown() {}

type (
	// Envelope has a comment.
	Envelope  struct{}
	Recipient struct{}
)

type Set[T any] []T

func (s Set[T]) Add(T) {}
