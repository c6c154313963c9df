package netdrv

import (
	"net/netip"
	"slices"
	"strconv"
)

// Boot is how guests of a subnet boot from the network.
type Boot struct {
	// Root is a directory that is served by TFTP and HTTP on the gateway's
	// address; "" serves nothing.
	Root string
	// Server has the files; if it is not valid, the gateway.
	Server netip.Addr
	// HTTPPort of 0 means 80.
	HTTPPort uint16
	Files    []BootFile
}

func (b *Boot) clone() *Boot {
	if b == nil {
		return nil
	}
	c := *b
	c.Files = slices.Clone(b.Files)
	for i := range c.Files {
		c.Files[i].Params = slices.Clone(c.Files[i].Params)
	}
	return &c
}

// DefaultHTTPPort is where boot files are served by HTTP.
const DefaultHTTPPort = 80

// TFTPPort is where they are served by TFTP (RFC 1350 section 4).
const TFTPPort = 69

// ServesFiles reports whether the host serves boot files on the subnet.
func (s *Subnet) ServesFiles() bool {
	return s.DHCP != nil && s.DHCP.Boot != nil && s.DHCP.Boot.Root != ""
}

// BootFile is for one kind of client: all if neither Arch nor IPXE is set.
type BootFile struct {
	Arch BootArch
	IPXE bool
	// File is a path below the root, or a URL.
	File string
	// Params are for IPv6.
	Params []string
}

// BootArch is a processor architecture type (RFC 4578 section 2.1, and IANA's
// registry of that name). The zero BootArch is any.
type BootArch struct {
	Known  bool
	Number uint16
}

// bootArchs are the types that may be called by name.
var bootArchs = words[uint16]{
	0: "bios", 2: "efi-ia64", 6: "efi-x86", 7: "efi-x86-64", 9: "efi-bc", 10: "efi-arm", 11: "efi-arm64",
	15: "http-x86", 16: "http-x86-64", 17: "http-bc", 18: "http-arm", 19: "http-arm64", 20: "http-bios",
	21: "uboot-arm", 22: "uboot-arm64", 23: "http-uboot-arm", 24: "http-uboot-arm64",
	25: "efi-riscv32", 26: "http-riscv32", 27: "efi-riscv64", 28: "http-riscv64",
	31: "s390", 32: "s390-extended", 39: "efi-loongarch64", 40: "http-loongarch64",
}

// String returns the word used in files, the number if there is none, and "" for
// any.
func (a BootArch) String() string {
	if !a.Known {
		return ""
	}
	return bootArchs.of(a.Number)
}

// ParseBootArch reads a word or a number; "" is any.
func ParseBootArch(s string) (BootArch, bool) {
	if s == "" {
		return BootArch{}, true
	}
	if n, ok := bootArchs.parse(s); ok {
		return BootArch{true, n}, true
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return BootArch{err == nil, uint16(n)}, err == nil
}
