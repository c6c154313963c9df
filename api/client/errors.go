package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a call can fail with; errors.Is finds them in an *Error.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("exists already")
	ErrInvalid     = errors.New("invalid")
	ErrConflict    = errors.New("in conflict with something else")
	ErrStale       = errors.New("changed meanwhile")
	ErrDenied      = errors.New("not allowed")
	ErrUnavailable = errors.New("no vnetd answers")
	ErrTimeout     = errors.New("timed out")
	ErrOverrun     = errors.New("too many events behind")
)

var kinds = map[codes.Code]error{
	codes.NotFound:           ErrNotFound,
	codes.AlreadyExists:      ErrExists,
	codes.InvalidArgument:    ErrInvalid,
	codes.FailedPrecondition: ErrConflict,
	codes.Aborted:            ErrStale,
	codes.PermissionDenied:   ErrDenied,
	codes.Unavailable:        ErrUnavailable,
	codes.DeadlineExceeded:   ErrTimeout,
	codes.ResourceExhausted:  ErrOverrun,
}

// Finding is one thing wrong with a definition.
type Finding struct{ Path, Why string }

// Error is a failed call.
type Error struct {
	// Kind is one of this package's errors, or nil.
	Kind error
	// Message is for the person.
	Message string
	// Findings are about fields of the definition that was sent.
	Findings []Finding
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Kind }

// fromStatus translates what gRPC returned; nil and io.EOF stay.
func fromStatus(socket string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &Error{Kind: kinds[st.Code()], Message: st.Message()}
	if st.Code() == codes.Unavailable {
		e.explain(socket)
	}
	for _, d := range st.Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				e.Findings = append(e.Findings, Finding{v.GetField(), v.GetDescription()})
			}
		}
	}
	return e
}

// explain looks at the socket to say why nobody answers, and what to do.
func (e *Error) explain(socket string) {
	c, err := net.DialTimeout("unix", socket, time.Second)
	switch {
	case err == nil:
		c.Close()
		if strings.Contains(e.Message, "preface") { // the connection was closed before it was one of HTTP/2
			e.Message = fmt.Sprintf("vnetd closed the connection to %s: this user has too many connections or calls open there; close some, or try again later", socket)
		}
	case errors.Is(err, fs.ErrNotExist):
		e.Message = fmt.Sprintf("no vnetd at %s: start it with `systemctl start vnetd` or `sudo make run`, or name its socket with --socket", socket)
	case errors.Is(err, fs.ErrPermission):
		e.Kind = ErrDenied
		e.Message = fmt.Sprintf("%s is not for you: be root, or in the group that owns it (vnetd-admin)", socket)
	case strings.Contains(err.Error(), "refused"):
		e.Message = fmt.Sprintf("vnetd at %s is not running: start it with `systemctl start vnetd` or `sudo make run`", socket)
	}
}
