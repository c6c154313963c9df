package v6

import (
	"encoding/binary"
	"net/netip"
)

// The options that a Config may hold, by their names in RFC 8415 and as noted.
const (
	OptVendor        uint16 = 17
	OptDNSServers    uint16 = optDNS
	OptSearch        uint16 = optSearch
	OptSNTPServers   uint16 = 31         // RFC 4075
	OptRefreshTime   uint16 = optRefresh // an hour by default
	OptNTPServers    uint16 = 56         // RFC 5908, see NTPServers
	OptBootFile      uint16 = 59         // RFC 5970
	OptSolMaxRT      uint16 = 82
	OptInfMaxRT      uint16 = 83
	OptCaptivePortal uint16 = 103 // RFC 8910
)

// ntpServer is the suboption of an NTP server's address, RFC 5908 §4.1.
const ntpServer = 1

// NTPServers returns the value of option 56, nil for none.
func NTPServers(addrs []netip.Addr) []byte {
	var b []byte
	for _, a := range addrs {
		b = appendOption(b, ntpServer, a.AsSlice())
	}
	return b
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}
