package v6

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

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
		return "other"
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

// The option codes that are used here, RFC 8415 and as noted.
const (
	optClientID   = 1
	optServerID   = 2
	optIANA       = 3
	optIATA       = 4
	optIAAddr     = 5
	optORO        = 6
	optPreference = 7
	optRelayMsg   = 9
	optStatus     = 13
	optRapid      = 14
	optUserClass  = 15
	optVendor     = 16 // its class
	optInterface  = 18
	optDNS        = 23 // RFC 3646
	optSearch     = 24 // RFC 3646
	optIAPD       = 25
	optRefresh    = 32
	optRemoteID   = 37 // RFC 4649
	optFQDN       = 39 // RFC 4704
	optBootURL    = 59 // RFC 5970, as the next two
	optBootParams = 60
	optArch       = 61
	optLinkLayer  = 79 // RFC 6939
)

// What is kept of a message. A client has one association, rarely two, with one
// address in each.
const (
	maxIAs   = 8
	maxAddrs = 4
	maxSize  = 4096
)

// Errors of Parse.
var (
	ErrSize   = errors.New("not the size of a DHCPv6 message")
	ErrType   = errors.New("not a client's message to a server")
	ErrOption = errors.New("malformed option")
	ErrDUID   = errors.New("a DUID that is too short, too long or repeated")
)

// A Request is a client's message. Its slices point into the payload that was
// parsed. The caller fills in the fields before Relays, the first three of them only if the
// message is not Relayed.
type Request struct {
	From     netip.Addr  // the packet's source
	FrameMAC lease.MAC   // the frame's source; zero if unknown
	Unicast  bool        // it was sent to the server's address
	Origin   fair.Origin // its Port is fair.Untracked where ports are not known
	Sender   lease.MAC   // the frame's source, also if it is a relay's
	Source   netip.Addr  // the packet's source, also if it is a relay's; zero if unknown
	FDB      fair.FDB    // of the bridge; nil: Origin.Port is certain
	Relays   []Relay     // that forwarded it, the one next to the server first

	Type      MessageType
	XID       [3]byte
	ClientID  []byte // the DUID; nil if missing
	ServerID  []byte // nil if missing
	Rapid     bool   // option 14
	ORO       []byte // option 6, two octets for each code; nil if missing
	FQDN      bool   // option 39 is there
	FQDNFlags byte
	Hostname  []byte // the first label of option 39; nil if missing

	UserClass   []byte      // option 15: classes, each with its length before it
	VendorClass []byte      // option 16, behind the enterprise number: the same
	Enterprise  uint32      // of option 16
	Boot        boot.Client // of options 15, 16 and 61

	n   int
	ias [maxIAs]IA
}

// IAs returns the identity associations, the first eight.
func (r *Request) IAs() []IA { return r.ias[:r.n] }

// An IA is an identity association: of addresses (IA_NA), temporary ones
// (IA_TA) or prefixes (IA_PD). Addrs are the first four of an IA_NA.
type IA struct {
	Code  uint16
	ID    uint32
	n     int
	addrs [maxAddrs]netip.Addr
}

// Addrs returns the addresses that the client names.
func (ia *IA) Addrs() []netip.Addr { return ia.addrs[:ia.n] }

// MAC returns the client's Ethernet address, or zero: that of the frame, or that which its
// link-local address (RFC 4291 appendix A) or its DUID-LLT or DUID-LL (RFC 8415 §11.2 and
// §11.4) is made of.
func (r *Request) MAC() (mac lease.MAC) {
	if r.FrameMAC != (lease.MAC{}) {
		return r.FrameMAC
	}
	if b := r.From.As16(); r.From.Is6() && r.From.IsLinkLocalUnicast() && b[11] == 0xff && b[12] == 0xfe {
		return lease.MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}
	}
	d := r.ClientID
	switch {
	case len(d) < 4 || d[0] != 0 || d[2] != 0 || d[3] != 1:
	case d[1] == 1 && len(d) == 14:
		copy(mac[:], d[8:])
	case d[1] == 3 && len(d) == 10:
		copy(mac[:], d[4:])
	}
	return mac
}

// Parse reads the payload of a UDP packet to port 547: a client's message, or one
// that relays have forwarded. The relay next to the client tells its address and MAC.
func Parse(b []byte) (Request, error) {
	var r Request
	if len(b) < 4 || len(b) > maxSize {
		return r, ErrSize
	}
	for len(b) > 0 && MessageType(b[0]) == RELAYFORW {
		if len(r.Relays) == hopLimit {
			return r, ErrType
		}
		relay, mac, message, err := readRelay(b)
		if err != nil {
			return r, err
		}
		r.Relays = append(r.Relays, relay)
		r.From, r.FrameMAC, b = relay.peer, mac, message
	}
	if len(b) < 4 {
		return r, ErrSize
	}
	r.Type = MessageType(b[0])
	if rules[r.Type] == 0 {
		return r, ErrType
	}
	copy(r.XID[:], b[1:])
	for b = b[4:]; len(b) > 0; {
		code, value, rest, ok := nextOption(b)
		if !ok {
			return r, ErrOption
		}
		b = rest
		if err := r.take(code, value); err != nil {
			return r, err
		}
	}
	return r, nil
}

// nextOption splits the first option off b.
func nextOption(b []byte) (code uint16, value, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, nil, false
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < 4+size {
		return 0, nil, nil, false
	}
	return binary.BigEndian.Uint16(b), b[4 : 4+size : 4+size], b[4+size:], true
}

func (r *Request) take(code uint16, value []byte) error {
	switch code {
	case optClientID, optServerID:
		id := &r.ClientID
		if code == optServerID {
			id = &r.ServerID
		}
		if *id != nil || !pool.ValidDUID(string(value)) {
			return ErrDUID
		}
		*id = value
	case optRapid:
		r.Rapid = true
	case optORO:
		r.ORO = value
	case optFQDN: // flags, and a name in the DNS's format that may lack its end (RFC 4704 §4)
		if len(value) > 0 {
			r.FQDN, r.FQDNFlags = true, value[0]
		}
		if len(value) > 1 && int(value[1]) < len(value)-1 {
			r.Hostname = value[2 : 2+int(value[1])]
		}
	case optUserClass:
		r.UserClass = value
		r.Boot.UserClass6(value)
	case optVendor:
		r.VendorClass = value[min(4, len(value)):]
		r.Enterprise = r.Boot.VendorClass6(value)
	case optArch:
		r.Boot.Archs = value
	case optIANA, optIATA, optIAPD:
		return r.takeIA(code, value)
	}
	return nil
}

func (r *Request) takeIA(code uint16, b []byte) error {
	header := 12
	if code == optIATA {
		header = 4
	}
	if len(b) < header {
		return ErrOption
	}
	if r.n == maxIAs {
		return nil
	}
	ia := IA{Code: code, ID: binary.BigEndian.Uint32(b)}
	for _, o := range r.IAs() {
		if o.Code == ia.Code && o.ID == ia.ID {
			return nil // a duplicate
		}
	}
	for b = b[header:]; len(b) > 0; {
		code, value, rest, ok := nextOption(b)
		if !ok {
			return ErrOption
		}
		b = rest
		if code != optIAAddr || ia.n == maxAddrs {
			continue
		}
		if len(value) < 24 {
			return ErrOption
		}
		ia.addrs[ia.n] = netip.AddrFrom16([16]byte(value))
		ia.n++
	}
	r.ias[r.n] = ia
	r.n++
	return nil
}

// defaultORO is for clients without option 6: those of before RFC 8415.
var defaultORO = []byte{0, optDNS, 0, optSearch}

// requested returns the codes that the client requests, in its order.
func (r *Request) requested() iter.Seq[uint16] {
	codes := r.ORO
	if codes == nil {
		codes = defaultORO
	}
	return func(yield func(uint16) bool) {
		for b := codes; len(b) >= 2; b = b[2:] {
			if !yield(binary.BigEndian.Uint16(b)) {
				return
			}
		}
	}
}

// requests reports whether the client requests an option.
func (r *Request) requests(code uint16) bool {
	for c := range r.requested() {
		if c == code {
			return true
		}
	}
	return false
}

const (
	hopLimit    = 8      // HOP_COUNT_LIMIT, RFC 8415 §7.6
	relayHeader = 2 + 32 // msg-type, hop-count, link-address, peer-address (§9)
)

// A Relay is what one relay agent added when it forwarded a message, RFC 8415 §9.
type Relay struct {
	hops        byte
	link, peer  netip.Addr
	interfaceID []byte // option 18; nil if missing
	remoteID    []byte // option 37 (RFC 4649); nil if missing
}

// Relayed reports whether a relay agent forwarded the message.
func (r *Request) Relayed() bool { return len(r.Relays) > 0 }

// readRelay reads the wrapping of one relay, with the message in it and the MAC of its sender
// (RFC 6939).
func readRelay(b []byte) (relay Relay, mac lease.MAC, message []byte, err error) {
	if len(b) < relayHeader {
		return relay, mac, nil, ErrSize
	}
	relay.hops = b[1]
	relay.link, relay.peer = netip.AddrFrom16([16]byte(b[2:])), netip.AddrFrom16([16]byte(b[18:]))
	for b = b[relayHeader:]; len(b) > 0; {
		code, value, rest, ok := nextOption(b)
		if !ok {
			return relay, mac, nil, ErrOption
		}
		b = rest
		switch code {
		case optRelayMsg:
			message = value
		case optInterface:
			relay.interfaceID = value
		case optRemoteID:
			relay.remoteID = value
		case optLinkLayer:
			if len(value) == 8 && binary.BigEndian.Uint16(value) == 1 {
				mac = lease.MAC(value[2:])
			}
		}
	}
	if message == nil {
		return relay, mac, nil, ErrOption
	}
	return relay, mac, message, nil
}

var circuitSeed = maphash.MakeSeed()

// CircuitOf identifies where behind a relay a message came from, for fairness: by what the
// relay next to the server says of it, or, without that, by the peer that the relay has it
// from. What is wrapped inside may be a guest's invention. It is 0 for a payload that no relay
// has forwarded, and for one that is no message.
func CircuitOf(payload []byte) fair.Circuit {
	if len(payload) == 0 || MessageType(payload[0]) != RELAYFORW {
		return 0
	}
	relay, _, _, err := readRelay(payload)
	if err != nil {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(circuitSeed)
	link, peer := relay.link.As16(), relay.peer.As16()
	_, _ = h.Write(link[:])
	for _, id := range [][]byte{relay.interfaceID, relay.remoteID} {
		_, _ = h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(id))))
		_, _ = h.Write(id)
	}
	if relay.interfaceID == nil && relay.remoteID == nil {
		_, _ = h.Write(peer[:])
	}
	return fair.Circuit(h.Sum64() | 1)
}

// link returns an address of the client's link: that of the relay which is
// nearest to it and gives one. The zero Addr is the server's own link. Relays on a switch
// give none (RFC 6221).
func (r *Request) link() netip.Addr {
	for _, relay := range slices.Backward(r.Relays) {
		if !relay.link.IsUnspecified() {
			return relay.link
		}
	}
	return netip.Addr{}
}

// wrap puts the message that begins at start into RELAY-REPLs for the relays
// (RFC 8415 §19.3).
func (r *Request) wrap(b []byte, start int) []byte {
	for _, relay := range slices.Backward(r.Relays) {
		message := slices.Clone(b[start:])
		b = append(b[:start], byte(RELAYREPL), relay.hops)
		link, peer := relay.link.As16(), relay.peer.As16()
		b = append(append(b, link[:]...), peer[:]...)
		if relay.interfaceID != nil {
			b = appendOption(b, optInterface, relay.interfaceID)
		}
		b = appendOption(b, optRelayMsg, message)
	}
	return b
}
