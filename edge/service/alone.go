package service

import (
	"errors"
	"sync"
)

// AloneError is an error that affects only one thing: the program goes on with everything else.
type AloneError struct {
	Name string // of the thing
	Err  error
}

func (e *AloneError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *AloneError) Unwrap() error { return e.Err }

// SplitAlone splits an error, which may be several joined ones, into those that affect only one
// thing, by its name, and the rest; nil if there is none.
func SplitAlone(err error) (alone map[string]error, rest error) {
	alone = map[string]error{}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		joined = one{err}
	}
	var others []error
	for _, e := range joined.Unwrap() {
		if a := (*AloneError)(nil); errors.As(e, &a) {
			alone[a.Name] = e
		} else {
			others = append(others, e)
		}
	}
	return alone, errors.Join(others...)
}

type one struct{ err error }

func (o one) Unwrap() []error { return []error{o.err} }

// Last remembers, by name, the last value that was read without error: a file that breaks while it
// is in use changes nothing. The zero value is empty. Last is safe for concurrent use.
type Last[T any] struct {
	mu     sync.Mutex
	values map[string]T
}

// Read reads a thing. If that fails, known reports whether value is the previous one.
func (l *Last[T]) Read(name string, read func() (T, error)) (value T, known bool, err error) {
	value, err = read()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		value, known = l.values[name]
		return value, known, err
	}
	if l.values == nil {
		l.values = map[string]T{}
	}
	l.values[name] = value
	return value, true, nil
}
