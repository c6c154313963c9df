package boot

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A Config is the boot files of a subnet. Do not change it while it is in use.
type Config struct {
	Server   netip.Addr // of the files
	HTTPPort uint16     // of Server; 0: 80
	Files    []File
}

// A File is for one kind of client.
type File struct {
	Arch   *Arch  // nil: any
	IPXE   bool   // only for clients that are iPXE already
	Name   string // below the server's root, or a URL
	Params []string
}

// Choose returns the file for a client. Its own, of its reservation, takes precedence; of the
// rest, one for iPXE over one for an architecture, and that over one for all clients; among
// equals the first. It is nil if there is none.
func (c *Config) Choose(own string, client *Client) *File {
	if own != "" {
		return &File{Name: own}
	}
	var best *File
	bestRank := -1
	for i := range c.Files {
		f := &c.Files[i]
		rank := 0
		if f.IPXE {
			rank += 2
		}
		if f.Arch != nil {
			rank++
		}
		if (!f.IPXE || client.IPXE) && (f.Arch == nil || client.runs(*f.Arch)) && rank > bestRank {
			best, bestRank = f, rank
		}
	}
	return best
}

// Name returns a file as a DHCPv4 client expects it: a URL for clients that boot by HTTP, and
// as configured for all others, which get it from Server by TFTP.
func (c *Config) Name(f *File, client *Client) string {
	if client.HTTP {
		return c.URL(f, client)
	}
	return f.Name
}

// URL returns the URL of a file, for clients that boot by HTTP, and for all in IPv6 (RFC 5970
// §3.1).
func (c *Config) URL(f *File, client *Client) string {
	if scheme, _, ok := strings.Cut(f.Name, "://"); ok && scheme != "" && !strings.ContainsAny(scheme, "/.") {
		return f.Name
	}
	host := c.Server.String()
	if c.Server.Is6() {
		host = "[" + host + "]"
	}
	at := url.URL{Scheme: "tftp", Host: host, Path: "/" + strings.TrimPrefix(f.Name, "/")}
	if client.HTTP {
		at.Scheme = "http"
		if c.HTTPPort != 0 && c.HTTPPort != 80 {
			at.Host += ":" + strconv.Itoa(int(c.HTTPPort))
		}
	}
	return at.String()
}

// Arch is a processor architecture type, of IANA's registry of that name.
type Arch uint16

// The types that are confused with each other, see Client.runs.
const (
	efiX8664 Arch = 7
	efiBC    Arch = 9
)

// What vendor and user classes begin with.
const (
	pxeClass  = "PXEClient"
	httpClass = "HTTPClient"
	ipxeClass = "iPXE"
)

// A Client is what a client that boots sends about itself.
type Client struct {
	PXE, HTTP, IPXE bool
	Archs           []byte // two octets each, in its order of preference; nil: none
}

// VendorClass reads a vendor class: option 60 (RFC 2132), or a piece
// of option 16 in DHCPv6 (RFC 8415 §21.16).
func (c *Client) VendorClass(class []byte) {
	c.PXE = c.PXE || bytes.HasPrefix(class, []byte(pxeClass))
	c.HTTP = c.HTTP || bytes.HasPrefix(class, []byte(httpClass))
}

// UserClass reads option 77. RFC 3004 wants each class with its length
// in front; iPXE sends its own bare.
func (c *Client) UserClass(option []byte) {
	if string(option) == ipxeClass {
		c.IPXE = true
		return
	}
	for len(option) > 0 && len(option) > int(option[0]) {
		size := int(option[0])
		c.IPXE = c.IPXE || string(option[1:1+size]) == ipxeClass
		option = option[1+size:]
	}
}

// UserClass6 reads option 15 (RFC 8415 §21.15).
func (c *Client) UserClass6(option []byte) {
	eachClass(option, func(class []byte) { c.IPXE = c.IPXE || string(class) == ipxeClass })
}

// VendorClass6 reads option 16 (RFC 8415 §21.16), and returns its enterprise number.
func (c *Client) VendorClass6(option []byte) (enterprise uint32) {
	if len(option) < 4 {
		return 0
	}
	eachClass(option[4:], c.VendorClass)
	return binary.BigEndian.Uint32(option)
}

// eachClass visits pieces with two octets of length in front, up to a truncated one.
func eachClass(b []byte, visit func([]byte)) {
	for len(b) >= 2 {
		size := int(binary.BigEndian.Uint16(b))
		if len(b) < 2+size {
			return
		}
		visit(b[2 : 2+size])
		b = b[2+size:]
	}
}

// Boots reports whether the client asks for a boot file.
func (c *Client) Boots() bool { return c.PXE || c.HTTP || c.IPXE || len(c.Archs) >= 2 }

// runs reports whether the client runs programs for an architecture. RFC 4578's list has EFI
// byte code and x86-64 the wrong way round (erratum 4625), and some firmware
// follows it: byte code means x86-64, too.
func (c *Client) runs(a Arch) bool {
	for b := c.Archs; len(b) >= 2; b = b[2:] {
		sent := Arch(binary.BigEndian.Uint16(b))
		if sent == a || sent == efiBC && a == efiX8664 {
			return true
		}
	}
	return false
}
