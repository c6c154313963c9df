package rpc

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/netdrv"
)

// findingsError carries findings as BadRequest details, one violation each.
func findingsError(code codes.Code, what string, fs netdrv.Findings) error {
	st := status.New(code, what+": "+fs.Error())
	bad := &errdetails.BadRequest{}
	for _, f := range fs {
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Path, Description: f.Why})
	}
	if with, err := st.WithDetails(bad); err == nil {
		st = with
	}
	return st.Err()
}

func notFound(name string) error {
	return status.Errorf(codes.NotFound, "there is no network %s", limit.Text(name))
}

// maxReadError bounds an error on the read-only socket: unprivileged users choose what they
// are refused for.
const maxReadError = 1024

func clipped(err error, readOnly bool) error {
	st, ok := status.FromError(err)
	if err == nil || !ok || !readOnly || len(st.Message()) <= maxReadError {
		return err
	}
	return status.Error(st.Code(), strings.ToValidUTF8(st.Message()[:maxReadError], "")+"...")
}

// failed is for what went wrong in the daemon or the host.
func failed(what string, err error) error {
	code := codes.Internal
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Errorf(code, "%s: %v", what, err)
}
