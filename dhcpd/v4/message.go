package v4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"iter"
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

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
		return "other"
	}
	return [...]string{"DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM"}[t-1]
}

// The layout of a message, RFC 2131 §2, figure 1.
const (
	offOp, offHType, offHLen                = 0, 1, 2
	offXID, offSecs, offFlags               = 4, 8, 10
	offCIAddr, offYIAddr                    = 12, 16
	offSIAddr, offGIAddr                    = 20, 24
	offCHAddr, offSName, offFile            = 28, 44, 108
	offCookie, offOptions                   = 236, 240
	bootRequest, bootReply, ethernet        = 1, 2, 1
	magicCookie                             = 0x63825363
	flagBroadcast                    uint16 = 0x8000
)

// The option codes that are used here, RFC 2132 and as noted.
const (
	optPad          = 0
	optMask         = 1
	optRouter       = 3
	optDNS          = 6
	optHostname     = 12
	optDomain       = 15
	optMTU          = 26
	optBroadcast    = 28
	optStaticRoutes = 33
	optRequestedIP  = 50
	optLeaseTime    = 51
	optOverload     = 52
	optMessageType  = 53
	optServerID     = 54
	optParameters   = 55
	optMessage      = 56
	optMaxSize      = 57
	optT1           = 58
	optT2           = 59
	optVendorClass  = 60
	optClientID     = 61
	optServerName   = 66
	optBootFile     = 67
	optUserClass    = 77 // RFC 3004
	optFQDN         = 81 // RFC 4702
	optRelayInfo    = 82 // RFC 3046
	optClientArch   = 93 // RFC 4578, as the next
	optMachineID    = 97
	optIPv6Only     = 108 // RFC 8925
	optRoutes       = 121 // RFC 3442
	optEnd          = 255
	minMaxSize      = 576
	ipAndUDPHeaders = 28
	minMessage      = 300 // RFC 951: BOOTP clients may want a full message
)

// The sub-options of option 82 that are read here.
const (
	subCircuit        = 1
	subRemote         = 2
	subLink           = 5  // RFC 3527
	subServerOverride = 11 // RFC 5107
)

// Errors of Parse.
var (
	ErrShort    = errors.New("shorter than a DHCP message")
	ErrNotDHCP  = errors.New("not a DHCP request: BOOTP, a reply, or something else")
	ErrHardware = errors.New("not from an Ethernet address")
	ErrOption   = errors.New("malformed option")
)

// A Request is a client's message. Its slices point into the payload that
// was parsed.
type Request struct {
	Type    MessageType
	XID     [4]byte
	Flags   uint16
	CIAddr  netip.Addr // 0.0.0.0 if not set, as the next
	GIAddr  netip.Addr
	MAC     lease.MAC
	Unicast bool        // it was sent to the server's address; Parse does not set it, nor the next four
	From    lease.MAC   // the frame's source; zero if unknown
	Origin  fair.Origin // its Port is fair.Untracked where ports are not known
	Source  netip.Addr  // the packet's source; zero if unknown
	FDB     fair.FDB    // of the bridge; nil: Origin.Port is certain

	RequestedIP netip.Addr // option 50; the zero Addr if missing, as the next
	ServerID    netip.Addr // option 54
	LeaseTime   time.Duration
	ClientID    []byte // option 61
	Hostname    []byte // the name in option 81, or else option 12 (RFC 4702 §3.1)
	FQDN        bool   // option 81 is there
	FQDNFlags   byte
	Parameters  []byte // option 55; nil if missing
	MaxSize     int    // option 57

	VendorClass    []byte     // option 60
	UserClass      []byte     // option 77
	ClientArch     []byte     // option 93
	MachineID      []byte     // option 97
	RelayInfo      []byte     // option 82; nil if missing
	Link           netip.Addr // its sub-option 5: the subnet to answer from (RFC 3527)
	ServerOverride netip.Addr // its sub-option 11: the server identifier to use (RFC 5107)
}

// Clone returns a request that outlives the payload.
func (r *Request) Clone() Request {
	c := *r
	for _, b := range []*[]byte{
		&c.ClientID, &c.Hostname, &c.Parameters, &c.VendorClass, &c.UserClass, &c.ClientArch, &c.MachineID, &c.RelayInfo,
	} {
		*b = bytes.Clone(*b)
	}
	return c
}

// Relayed reports whether a relay agent forwarded the message.
func (r *Request) Relayed() bool { return r.GIAddr.IsValid() && !r.GIAddr.IsUnspecified() }

// Parse reads the payload of a UDP packet to port 67.
func Parse(b []byte) (Request, error) {
	var r Request
	if len(b) < offOptions {
		return r, ErrShort
	}
	if b[offOp] != bootRequest || binary.BigEndian.Uint32(b[offCookie:]) != magicCookie {
		return r, ErrNotDHCP
	}
	if b[offHType] != ethernet || b[offHLen] != 6 || b[offCHAddr]&1 != 0 {
		return r, ErrHardware
	}
	copy(r.XID[:], b[offXID:])
	copy(r.MAC[:], b[offCHAddr:])
	r.Flags = binary.BigEndian.Uint16(b[offFlags:])
	r.CIAddr = netip.AddrFrom4([4]byte(b[offCIAddr:]))
	r.GIAddr = netip.AddrFrom4([4]byte(b[offGIAddr:]))
	var o options
	if err := o.scan(b[offOptions:]); err != nil {
		return r, err
	}
	// The options field comes before those that option 52 names (RFC 3396 §5).
	if overload := o.get(optOverload); len(overload) == 1 {
		if overload[0]&1 != 0 {
			if err := o.scan(b[offFile:offCookie]); err != nil {
				return r, err
			}
		}
		if overload[0]&2 != 0 {
			if err := o.scan(b[offSName:offFile]); err != nil {
				return r, err
			}
		}
	}
	typ := o.get(optMessageType)
	if typ == nil {
		return r, ErrNotDHCP
	}
	var ok1, ok2 bool
	r.RequestedIP, ok1 = addrOption(o.get(optRequestedIP))
	r.ServerID, ok2 = addrOption(o.get(optServerID))
	if len(typ) != 1 || !ok1 || !ok2 {
		return r, ErrOption
	}
	r.Type = MessageType(typ[0])
	r.ClientID, r.Parameters = o.get(optClientID), o.get(optParameters)
	r.VendorClass, r.UserClass = o.get(optVendorClass), o.get(optUserClass)
	r.ClientArch, r.MachineID = o.get(optClientArch), o.get(optMachineID)
	r.setHostname(o.get(optHostname), o.get(optFQDN))
	if size := o.get(optMaxSize); len(size) == 2 {
		r.MaxSize = int(binary.BigEndian.Uint16(size))
	}
	if t := o.get(optLeaseTime); len(t) == 4 {
		r.LeaseTime = time.Duration(binary.BigEndian.Uint32(t)) * time.Second
	}
	// Option 82 (RFC 3046): what cannot be read to its end is sent back all the same. A relay
	// adds a single one, so one in several pieces is not a relay's.
	info := o.get(optRelayInfo)
	if len(info) > 255 {
		return r, nil
	}
	r.RelayInfo = info
	if !r.Relayed() {
		return r, nil // a switch added it, or the client itself, which is not believed
	}
	for code, value := range subOptions(info) {
		switch {
		case len(value) != 4:
		case code == subLink:
			r.Link = netip.AddrFrom4([4]byte(value))
		case code == subServerOverride:
			r.ServerOverride = netip.AddrFrom4([4]byte(value))
		}
	}
	return r, nil
}

// setHostname reads options 12 and 81. The name of 81, or its first label if it is in the DNS's
// format (RFC 4702 §2), takes precedence.
func (r *Request) setHostname(hostname, fqdn []byte) {
	r.Hostname = hostname
	if len(fqdn) < fqdnHeader {
		return
	}
	r.FQDN, r.FQDNFlags = true, fqdn[0]
	name := fqdn[fqdnHeader:]
	if fqdn[0]&fqdnE != 0 && len(name) > 0 {
		if n := int(name[0]); n < len(name) {
			name = name[1 : 1+n]
		} else {
			name = nil
		}
	}
	if len(name) > 0 {
		r.Hostname = name
	}
}

// parsed are the options that are read, in the order of options.
var parsed = [...]byte{
	optMessageType, optRequestedIP, optServerID, optParameters, optClientID,
	optHostname, optFQDN, optMaxSize, optLeaseTime, optOverload, optRelayInfo,
	optVendorClass, optUserClass, optClientArch, optMachineID,
}

// index[code] is one more than the code's index in parsed.
var index = func() (p [256]byte) {
	for i, code := range parsed {
		p[code] = byte(i + 1)
	}
	return p
}()

// options are the values of the parsed options; nil is missing.
type options [len(parsed)][]byte

func (o *options) get(code byte) []byte { return o[index[code]-1] }

// scan reads one field. An option that comes in several pieces is joined,
// RFC 3396.
func (o *options) scan(b []byte) error {
	for len(b) > 0 && b[0] != optEnd {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return ErrOption
		}
		value := b[2 : 2+int(b[1]) : 2+int(b[1])]
		if i := index[b[0]]; i > 0 && o[i-1] == nil {
			o[i-1] = value
		} else if i > 0 {
			o[i-1] = append(o[i-1], value...) // copies: a value has no spare capacity
		}
		b = b[2+len(value):]
	}
	return nil
}

func addrOption(b []byte) (netip.Addr, bool) {
	if b == nil {
		return netip.Addr{}, true
	}
	if len(b) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b)), true
}

// subOptions are those of option 82, to the first that is truncated.
func subOptions(b []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for len(b) >= 2 && len(b) >= 2+int(b[1]) {
			value := b[2 : 2+int(b[1])]
			if !yield(b[0], value) {
				return
			}
			b = b[2+len(value):]
		}
	}
}

var circuitSeed = maphash.MakeSeed()

// CircuitOf identifies where behind a relay a message came from, for fairness: by the relay's
// address and its circuit and remote IDs (RFC 3046 §3.1, §3.2), or, without those, by the
// client's MAC. It is 0 for a payload that no relay has forwarded, and for one that is no
// message. The last option 82 counts: a relay appends its own to those that the client sent.
func CircuitOf(payload []byte) fair.Circuit {
	if len(payload) < offOptions || [4]byte(payload[offGIAddr:]) == [4]byte{} {
		return 0
	}
	var info []byte
	for b := payload[offOptions:]; len(b) > 0 && b[0] != optEnd; {
		if b[0] == optPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			break
		}
		if b[0] == optRelayInfo {
			info = b[2 : 2+int(b[1])]
		}
		b = b[2+int(b[1]):]
	}
	var h maphash.Hash
	h.SetSeed(circuitSeed)
	_, _ = h.Write(payload[offGIAddr : offGIAddr+4])
	identified := false
	for code, value := range subOptions(info) {
		if code == subCircuit || code == subRemote {
			_, _ = h.Write([]byte{code, byte(len(value))})
			_, _ = h.Write(value)
			identified = true
		}
	}
	if !identified {
		_, _ = h.Write(payload[offCHAddr : offCHAddr+6])
	}
	return fair.Circuit(h.Sum64() | 1)
}
