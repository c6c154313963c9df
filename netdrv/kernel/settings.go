package kernel

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// setting is a sysctl of a link that the kernel also tells with the link itself, in
// IFLA_AF_SPEC: an array of 32-bit numbers for each family. To read them there costs
// nothing; five files for each of a thousand bridges is most of what a look costs.
type setting struct {
	file  string // below /proc/sys/net/FAMILY/conf/LINK
	ipv6  bool
	index int // in the array: linux/ip.h's IPV4_DEVCONF_* less one, linux/ipv6.h's DEVCONF_*
}

// linkSettings are what is looked at of each bridge of ours.
var linkSettings = []setting{
	{"promote_secondaries", false, 19},
	{"arp_ignore", false, 18},
	{"addr_gen_mode", true, 47},
	{"accept_ra", true, 3},
	{"disable_ipv6", true, 26},
	{"forwarding", false, 0},
	{"forwarding", true, 0},
}

// acceptRA is the setting of the host's own links that counts.
var acceptRA = setting{"accept_ra", true, 3}

// key is the path of a link's setting below /proc/sys.
func (s setting) key(link string) string {
	family := "ipv4"
	if s.ipv6 {
		family = "ipv6"
	}
	return fmt.Sprintf("net/%s/conf/%s/%s", family, link, s.file)
}

// neighbourSettings are of each bridge, too, before and after its name; the kernel tells
// them with all links' or not at all (RTM_GETNEIGHTBL), so they are read as files.
var neighbourSettings = [][2]string{
	{"net/ipv4/neigh/", "/unres_qlen_bytes"},
	{"net/ipv6/neigh/", "/unres_qlen_bytes"},
}

// value finds a setting in IFLA_AF_SPEC, as /proc/sys prints it; "" is what a link
// without that family has.
func (s setting) value(spec []byte) string {
	path := []uint16{unix.AF_INET, unix.IFLA_INET_CONF}
	if s.ipv6 {
		path = []uint16{unix.AF_INET6, unix.IFLA_INET6_CONF}
	}
	array := seek(spec, path...)
	if len(array) < 4*(s.index+1) {
		return ""
	}
	return strconv.Itoa(int(int32(binary.NativeEndian.Uint32(array[4*s.index:]))))
}
