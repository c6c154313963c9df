package files

import (
	"errors"
	"io/fs"
	"sync/atomic"

	"github.com/vnetd/vnetd/dhcpd/boot/tftp"
)

// An Outcome is the result of a request for a file.
type Outcome int

// The outcomes.
const (
	Sent    Outcome = iota
	Missing         // no such file
	Refused         // the file may not be read, or the method is not GET or HEAD
	Busy            // the client, or all clients, have too many transfers or connections
	Failed          // the client aborted the transfer, or did not respond
	outcomes
)

func (o Outcome) String() string {
	return [outcomes]string{"sent", "missing", "refused", "busy", "failed"}[o]
}

// Counts are how many requests of a network had which outcome.
type Counts struct{ TFTP, HTTP [outcomes]uint64 }

// counts are those of one protocol.
type counts [outcomes]atomic.Uint64

func (c *counts) add(o Outcome) { c[o].Add(1) }

func (c *counts) read() (out [outcomes]uint64) {
	for o := range c {
		out[o] = c[o].Load()
	}
	return out
}

// outcomeOf returns the outcome of a transfer with an error, or nil.
func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Sent
	case errors.Is(err, fs.ErrNotExist):
		return Missing
	case errors.Is(err, tftp.ErrBusy):
		return Busy
	case errors.Is(err, tftp.ErrEnded):
		return Failed
	}
	return Refused
}

// Counts returns the counts of each network that is served.
func (s *Server) Counts() map[string]Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]Counts{}
	for name, n := range s.networks {
		out[name] = Counts{TFTP: n.tftp.read(), HTTP: n.http.read()}
	}
	return out
}
