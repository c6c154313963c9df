package boot

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A Config says what the clients of a subnet boot. Do not change it while it is
// in use.
type Config struct {
	Server   netip.Addr // where the files are
	HTTPPort uint16     // of Server; 0: 80
	Files    []File
}

// A File is for one kind of client.
type File struct {
	Arch   *Arch  // nil: any
	IPXE   bool   // for clients that are iPXE already, and for no others
	Name   string // below the server's root, or a URL
	Params []string
}

// Choose returns the file for a client, whose own, if it has one, is before all
// others. Of the rest one for iPXE wins over one for an architecture, and that
// over one for everybody; among equals the first. It is nil if there is none.
func (c *Config) Choose(own string, client *Client) *File {
	if own != "" {
		return &File{Name: own}
	}
	var best *File
	for i := range c.Files {
		f := &c.Files[i]
		if f.fits(client) && (best == nil || f.rank() > best.rank()) {
			best = f
		}
	}
	return best
}

func (f *File) fits(c *Client) bool {
	return (!f.IPXE || c.IPXE) && (f.Arch == nil || c.arch(*f.Arch))
}

func (f *File) rank() int {
	rank := 0
	if f.IPXE {
		rank += 2
	}
	if f.Arch != nil {
		rank++
	}
	return rank
}

// Name returns a file as a client by DHCPv4 wants to read it: a URL for those
// that boot by HTTP, and as configured for all others, who take it from Server
// by TFTP.
func (c *Config) Name(f *File, client *Client) string {
	if client.HTTP {
		return c.URL(f, client)
	}
	return f.Name
}

// URL returns where a file is, for clients that know nothing else: those that
// boot by HTTP, and all in IPv6 (RFC 5970 §3.1).
func (c *Config) URL(f *File, client *Client) string {
	if isURL(f.Name) {
		return f.Name
	}
	at := url.URL{Scheme: "tftp", Host: host(c.Server), Path: "/" + strings.TrimPrefix(f.Name, "/")}
	if client.HTTP {
		at.Scheme = "http"
		if c.HTTPPort != 0 && c.HTTPPort != 80 {
			at.Host += ":" + strconv.Itoa(int(c.HTTPPort))
		}
	}
	return at.String()
}

func host(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}
