package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kinds of errors of a call; errors.Is finds them in an *Error.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already exists")
	ErrInvalid     = errors.New("invalid")
	ErrConflict    = errors.New("conflict")
	ErrStale       = errors.New("changed concurrently")
	ErrDenied      = errors.New("permission denied")
	ErrUnavailable = errors.New("vnetd is unavailable")
	ErrTimeout     = errors.New("timed out")
	ErrOverrun     = errors.New("too many unread events")
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

// Finding is one error of a definition.
type Finding struct{ Path, Why string }

// Error is a failed call.
type Error struct {
	// Kind is one of this package's errors, or nil.
	Kind error
	// Message is for users.
	Message string
	// Findings are about fields of the definition that was sent.
	Findings []Finding
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Kind }

// fromStatus translates an error of gRPC; nil and io.EOF are returned as they are.
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

// explain sets the message to the reason why there is no connection, and to its remedy.
func (e *Error) explain(socket string) {
	c, err := net.DialTimeout("unix", socket, time.Second)
	switch {
	case err == nil:
		c.Close()
		if strings.Contains(e.Message, "preface") { // closed before HTTP/2 was set up
			e.Message = fmt.Sprintf("vnetd closed the connection to %s: this user has too many connections or calls open there; close some, or try again later", socket)
		}
	case errors.Is(err, fs.ErrNotExist):
		e.Message = fmt.Sprintf("cannot connect to vnetd at %s: no such file. Is vnetd running? (systemctl status vnetd)", socket)
	case errors.Is(err, fs.ErrPermission):
		e.Kind = ErrDenied
		e.Message = fmt.Sprintf("permission denied on %s: run as root or join group %s", socket, groupOf(socket))
	case strings.Contains(err.Error(), "refused"):
		e.Message = fmt.Sprintf("cannot connect to vnetd at %s: connection refused. Is vnetd running? (systemctl status vnetd)", socket)
	}
}

// groupOf returns the name of the group that owns a socket: its number without a name,
// and the default if the socket cannot be read.
func groupOf(socket string) string {
	info, err := os.Stat(socket)
	if err != nil {
		return "vnetd-admin"
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "vnetd-admin"
	}
	number := strconv.FormatUint(uint64(stat.Gid), 10)
	if g, err := user.LookupGroupId(number); err == nil {
		return g.Name
	}
	return number
}
