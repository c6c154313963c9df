package rpc

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vnetd/vnetd/daemon/service"
)

var kindCodes = map[service.Kind]codes.Code{
	service.NotFound:     codes.NotFound,
	service.Exists:       codes.AlreadyExists,
	service.Conflict:     codes.Aborted,
	service.Invalid:      codes.InvalidArgument,
	service.Precondition: codes.FailedPrecondition,
	service.Unreadable:   codes.DataLoss,
	service.Internal:     codes.Internal,
}

// statusError returns an error as gRPC's, with findings as BadRequest details.
func statusError(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := kindCodes[service.KindOf(err)]
	switch {
	case code != codes.Internal:
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	st := status.New(code, err.Error())
	if e := new(service.Error); errors.As(err, &e) && e.Findings != nil {
		bad := &errdetails.BadRequest{}
		for _, f := range e.Findings {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Path, Description: f.Why})
		}
		if with, err := st.WithDetails(bad); err == nil {
			st = with
		}
	}
	return st.Err()
}

// maxReadError bounds an error on the read-only socket: it can repeat what an unprivileged
// user has sent.
const maxReadError = 1024

func clipped(err error, readOnly bool) error {
	st, ok := status.FromError(err)
	if err == nil || !ok || !readOnly || len(st.Message()) <= maxReadError {
		return err
	}
	return status.Error(st.Code(), strings.ToValidUTF8(st.Message()[:maxReadError], "")+"...")
}
