package files

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
)

const (
	tftpPort        = 69
	defaultHTTPPort = 80
)

// A Config is what is served of one network. A Server keeps it: do not change it
// afterwards.
type Config struct {
	Network   string // its name: for the log, and for Remove
	Interface string // the bridge: only what arrives there or on lo is answered
	Shares    []Share
}

// A Share is a directory that is served on one address of the host.
type Share struct {
	Address  netip.Prefix // the address, and the subnet of the clients
	Root     string       // the directory, absolute
	HTTPPort uint16       // 0: 80. TFTP's is always 69
}

// check returns the error of a share, or of its directory.
func (s *Share) check() error {
	switch {
	case !s.Address.IsValid():
		return errors.New("no address to serve files on")
	case !filepath.IsAbs(s.Root):
		return fmt.Errorf("boot root %q is not absolute", s.Root)
	}
	return root(s.Root).check()
}

// allows reports whether a client is on the share's own link: a TFTP request with a forged
// source must not cause traffic to others.
func (s *Share) allows(client netip.Addr) bool {
	return s.Address.Masked().Contains(client) || client.IsLoopback() || client.Is6() && client.IsLinkLocalUnicast()
}
