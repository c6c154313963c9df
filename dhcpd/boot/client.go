package boot

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Arch is a processor architecture type, of IANA's registry of that name. The
// ones that this package knows of are named here.
type Arch uint16

// The types that are not what they seem.
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

// A Client is what somebody who boots says of itself.
type Client struct {
	PXE, HTTP, IPXE bool
	Archs           []byte // two octets each, in its order of preference; nil if it says none
}

// VendorClass notes what a vendor class says: option 60 (RFC 2132), or a piece
// of option 16 in DHCPv6 (RFC 8415 §21.16).
func (c *Client) VendorClass(class []byte) {
	c.PXE = c.PXE || bytes.HasPrefix(class, []byte(pxeClass))
	c.HTTP = c.HTTP || bytes.HasPrefix(class, []byte(httpClass))
}

// UserClass notes what option 77 says. RFC 3004 wants each class with its length
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

// UserClass6 notes what option 15 says (RFC 8415 §21.15).
func (c *Client) UserClass6(option []byte) {
	eachClass(option, func(class []byte) { c.IPXE = c.IPXE || string(class) == ipxeClass })
}

// VendorClass6 notes what option 16 says (RFC 8415 §21.16), and returns the
// enterprise that says it.
func (c *Client) VendorClass6(option []byte) (enterprise uint32) {
	if len(option) < 4 {
		return 0
	}
	eachClass(option[4:], c.VendorClass)
	return binary.BigEndian.Uint32(option)
}

// eachClass visits pieces with two octets of length in front; one that is cut
// off ends it.
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

// Boots says whether the client asks to be told what to boot.
func (c *Client) Boots() bool { return c.PXE || c.HTTP || c.IPXE || len(c.Archs) >= 2 }

// arch says whether the client runs programs for a. RFC 4578's list has EFI
// byte code and x86-64 the wrong way round (erratum 4625), and some firmware
// follows it: who says byte code means x86-64.
func (c *Client) arch(a Arch) bool {
	for b := c.Archs; len(b) >= 2; b = b[2:] {
		said := Arch(binary.BigEndian.Uint16(b))
		if said == a || said == efiBC && a == efiX8664 {
			return true
		}
	}
	return false
}

// isURL says whether a file is named by where it is.
func isURL(file string) bool {
	scheme, _, ok := strings.Cut(file, "://")
	return ok && scheme != "" && !strings.ContainsAny(scheme, "/.")
}
