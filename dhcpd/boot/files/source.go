package files

import "sync/atomic"

// A source has what the servers of one address serve. A change replaces its content, and the
// sockets stay.
type source struct{ content atomic.Pointer[content] }

// content is what is served now.
type content struct {
	Share
	bridge string
	socket socket // of new transfers
}

func (s *source) now() *content { return s.content.Load() }

func (s *source) open(name string) (*file, error) { return root(s.now().Root).open(name) }
