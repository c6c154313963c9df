package firewall

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// numberWords are nft's names for numbers, by their type. Of types without names,
// and of numbers without one, nft writes the number.
var numberWords = map[Type]map[uint16]string{
	InetProto: {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"},
	ICMPType: {
		0: "echo-reply", 3: "destination-unreachable", 5: "redirect", 8: "echo-request", 11: "time-exceeded", 12: "parameter-problem",
	},
	ICMPv6Type: {
		1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem",
		128: "echo-request", 129: "echo-reply",
		130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done", 143: "mld2-listener-report",
		133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert", 137: "nd-redirect",
	},
}

func numberText(t Type, n uint16) string {
	if word, ok := numberWords[t][n]; ok {
		return word
	}
	if t == MarkValue {
		return fmt.Sprintf("0x%08x", n)
	}
	return strconv.Itoa(int(n))
}

// durationText is a whole number of seconds as nft writes it.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
