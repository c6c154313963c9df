package firewall

import "strconv"

// icmpType is a type of which no set has a key.
const icmpType = EtherAddr + 1

// numberWords are nft's names for numbers, by their type. Of types without names,
// and of numbers without one, nft writes the number.
var numberWords = map[Type]map[uint16]string{
	InetProto: {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"},
	icmpType:  {5: "redirect", 8: "echo-request"},
	ICMPv6Type: {
		128: "echo-request",
		130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done", 143: "mld2-listener-report",
		133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert", 137: "nd-redirect",
	},
}

func numberText(t Type, n uint16) string {
	if word, ok := numberWords[t][n]; ok {
		return word
	}
	return strconv.Itoa(int(n))
}
