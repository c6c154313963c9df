package files

import "sync/atomic"

// A source is where the servers of one address find what to serve. A change
// swaps it, and their sockets stay.
type source struct{ content atomic.Pointer[content] }

// content is what is served at the moment.
type content struct {
	Share
	bridge string
	socket socket // what a new socket gets
}

func (s *source) now() *content { return s.content.Load() }

func (s *source) open(name string) (*file, error) { return root(s.now().Root).open(name) }
