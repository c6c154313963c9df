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

// A Config says what is served of one network. A Server keeps what it was
// given: do not change it afterwards.
type Config struct {
	Network   string // its name: for the log, and for Remove
	Interface string // the bridge: only what arrives there or on lo is answered
	Shares    []Share
}

// A Share is a directory on one address of the host's.
type Share struct {
	Address  netip.Prefix // the address, and the subnet whose clients are served
	Root     string       // the directory, absolute
	HTTPPort uint16       // 0: 80. TFTP's is always 69
}

func (s *Share) httpPort() uint16 {
	if s.HTTPPort == 0 {
		return defaultHTTPPort
	}
	return s.HTTPPort
}

// check finds what is wrong with a share, its directory included.
func (s *Share) check() error {
	switch {
	case !s.Address.IsValid():
		return errors.New("no address to serve files on")
	case !filepath.IsAbs(s.Root):
		return fmt.Errorf("boot root %q is not absolute", s.Root)
	}
	return root(s.Root).check()
}

// allows says whether a client is on the share's own link: TFTP's word alone
// must not make us send to anybody else.
func (s *Share) allows(client netip.Addr) bool {
	return s.Address.Masked().Contains(client) || client.IsLoopback() || client.Is6() && client.IsLinkLocalUnicast()
}
