package service

import (
	"errors"
	"fmt"

	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

// Kind classifies an Error for the protocol that reports it.
type Kind int

// The kinds of errors.
const (
	Internal     Kind = iota // of the daemon or the host; also any other error
	NotFound                 // no such network, port, record, forward or lease
	Exists                   // a network of that name is declared
	Conflict                 // the definition was changed since it was read
	Invalid                  // a definition or an argument is wrong
	Precondition             // a definition conflicts with the host, other networks or guests
	Unreadable               // a definition file cannot be read
)

// Error is why a request was refused or failed.
type Error struct {
	Kind    Kind
	Message string
	// Findings are all that is wrong with a definition.
	Findings netdrv.Findings
	cause    error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.cause }

// KindOf returns the kind of an error, Internal if it is not an Error.
func KindOf(err error) Kind {
	if e := new(Error); errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

func refuse(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

func findingsError(k Kind, what string, fs netdrv.Findings) error {
	return &Error{Kind: k, Message: what + ": " + fs.Error(), Findings: fs}
}

// failed adds what failed to an error of the daemon or the host; nil stays nil.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: Internal, Message: fmt.Sprintf("%s: %v", what, err), cause: err}
}

// missing distinguishes a network that is not declared from one with an unreadable file.
func (s *Service) missing(name string) error {
	if err := s.Store.Broken()[name]; err != nil {
		return refuse(Unreadable, "the definition of network %s cannot be read: %v", name, err)
	}
	return refuse(NotFound, "there is no network %s", limit.Text(name))
}
