package v4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

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

// Why a payload is not a request that we can read.
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
	Unicast bool         // it was sent to our address; Parse cannot know, as the next
	From    lease.MAC    // who sent the frame; zero if unknown
	Guest   fair.Guest   // from where; its Port is fair.Unasked where ports are unknown
	Source  netip.Addr   // the packet's source; zero if unknown
	Witness fair.Witness // of the bridge; nil: Guest.Port is certain

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
	ServerOverride netip.Addr // its sub-option 11: who the relay says that we are (RFC 5107)
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

// Relayed says whether a relay agent sent the message on.
func (r *Request) Relayed() bool { return r.GIAddr.IsValid() && !r.GIAddr.IsUnspecified() }

// Ends says whether the message is to end a lease.
func (r *Request) Ends() bool {
	return r.Type == DHCPRELEASE || r.Type == DHCPDECLINE
}

// Broadcast says whether the client cannot take unicast yet.
func (r *Request) Broadcast() bool { return r.Flags&flagBroadcast != 0 }

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
	if err := o.read(b); err != nil {
		return r, err
	}
	return r, r.interpret(&o)
}

// wanted are the options that a server reads, in the order of options.
var wanted = [...]byte{
	optMessageType, optRequestedIP, optServerID, optParameters, optClientID,
	optHostname, optFQDN, optMaxSize, optLeaseTime, optOverload, optRelayInfo,
	optVendorClass, optUserClass, optClientArch, optMachineID,
}

// place[code] is one more than the code's place in wanted.
var place = func() (p [256]byte) {
	for i, code := range wanted {
		p[code] = byte(i + 1)
	}
	return p
}()

// options are the values of the wanted options; nil is missing.
type options [len(wanted)][]byte

func (o *options) get(code byte) []byte { return o[place[code]-1] }

// read finds the options in the options field and, if option 52 says so, in
// the file and sname fields, in this order (RFC 3396 §5).
func (o *options) read(b []byte) error {
	if err := o.scan(b[offOptions:]); err != nil {
		return err
	}
	overload := o.get(optOverload)
	if len(overload) != 1 {
		return nil
	}
	if overload[0]&1 != 0 {
		if err := o.scan(b[offFile:offCookie]); err != nil {
			return err
		}
	}
	if overload[0]&2 != 0 {
		return o.scan(b[offSName:offFile])
	}
	return nil
}

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
		if at := place[b[0]]; at > 0 {
			o.join(int(at-1), value)
		}
		b = b[2+len(value):]
	}
	return nil
}

func (o *options) join(at int, value []byte) {
	if o[at] == nil {
		o[at] = value
		return
	}
	o[at] = append(o[at], value...) // copies: a value has no spare capacity
}

func (r *Request) interpret(o *options) error {
	typ := o.get(optMessageType)
	if typ == nil {
		return ErrNotDHCP
	}
	if len(typ) != 1 {
		return ErrOption
	}
	r.Type = MessageType(typ[0])
	var ok1, ok2 bool
	r.RequestedIP, ok1 = addrOption(o.get(optRequestedIP))
	r.ServerID, ok2 = addrOption(o.get(optServerID))
	if !ok1 || !ok2 {
		return ErrOption
	}
	r.ClientID, r.Parameters = o.get(optClientID), o.get(optParameters)
	r.VendorClass, r.UserClass = o.get(optVendorClass), o.get(optUserClass)
	r.ClientArch, r.MachineID = o.get(optClientArch), o.get(optMachineID)
	r.name(o.get(optHostname), o.get(optFQDN))
	r.takeRelayInfo(o.get(optRelayInfo))
	if size := o.get(optMaxSize); len(size) == 2 {
		r.MaxSize = int(binary.BigEndian.Uint16(size))
	}
	if t := o.get(optLeaseTime); len(t) == 4 {
		r.LeaseTime = time.Duration(binary.BigEndian.Uint32(t)) * time.Second
	}
	return nil
}

// name reads what the client calls itself.
func (r *Request) name(hostname, fqdn []byte) {
	r.Hostname = hostname
	if len(fqdn) < fqdnHeader {
		return
	}
	r.FQDN, r.FQDNFlags = true, fqdn[0]
	if name := fqdnName(fqdn); len(name) > 0 {
		r.Hostname = name
	}
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
