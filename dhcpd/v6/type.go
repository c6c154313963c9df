package v6

import "fmt"

// MessageType is the msg-type of a message, by RFC 8415's names.
type MessageType byte

// The message types (RFC 8415 §7.3).
const (
	SOLICIT MessageType = iota + 1
	ADVERTISE
	REQUEST
	CONFIRM
	RENEW
	REBIND
	REPLY
	RELEASE
	DECLINE
	RECONFIGURE
	INFORMATIONREQUEST
	RELAYFORW
	RELAYREPL
)

func (t MessageType) String() string {
	if t < SOLICIT || t > RELAYREPL {
		return fmt.Sprintf("type %d", byte(t))
	}
	return [...]string{
		"SOLICIT", "ADVERTISE", "REQUEST", "CONFIRM", "RENEW", "REBIND", "REPLY", "RELEASE", "DECLINE", "RECONFIGURE",
		"INFORMATION-REQUEST", "RELAY-FORW", "RELAY-REPL",
	}[t-1]
}

// StatusCode is the value of option 13 (RFC 8415 §21.13).
type StatusCode uint16

// The status codes.
const (
	Success StatusCode = iota
	UnspecFail
	NoAddrsAvail
	NoBinding
	NotOnLink
	UseMulticast
	NoPrefixAvail
)

func (c StatusCode) String() string {
	return [...]string{"Success", "UnspecFail", "NoAddrsAvail", "NoBinding", "NotOnLink", "UseMulticast", "NoPrefixAvail"}[c]
}
