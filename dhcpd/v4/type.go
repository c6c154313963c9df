package v4

import "fmt"

// MessageType is the value of option 53, by RFC 2131's names.
type MessageType byte

// The message types (RFC 2132 §9.6).
const (
	DHCPDISCOVER MessageType = iota + 1
	DHCPOFFER
	DHCPREQUEST
	DHCPDECLINE
	DHCPACK
	DHCPNAK
	DHCPRELEASE
	DHCPINFORM
)

// String returns the name without "DHCP".
func (t MessageType) String() string {
	if t < DHCPDISCOVER || t > DHCPINFORM {
		return fmt.Sprintf("type %d", byte(t))
	}
	return [...]string{"DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"}[t-1]
}
