package v6

import (
	"encoding/binary"
	"errors"
	"iter"
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

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

// Why a payload is not a request that we can read.
var (
	ErrSize   = errors.New("not the size of a DHCPv6 message")
	ErrType   = errors.New("not a client's message to a server")
	ErrOption = errors.New("malformed option")
	ErrDUID   = errors.New("a DUID that is too short, too long or there twice")
)

// A Request is a client's message. Its slices point into the payload that was
// parsed. The first four fields are the caller's to fill, the
// first three only if it is not Relayed.
type Request struct {
	From     netip.Addr   // the packet's source
	FrameMAC lease.MAC    // the frame's source; zero if unknown
	Unicast  bool         // it was sent to an address of ours
	Guest    fair.Guest   // where it is from; its Port is fair.Unasked where ports are unknown
	Sender   lease.MAC    // the frame's source, also if it is a relay's
	Source   netip.Addr   // the packet's source, also if it is a relay's; zero if unknown
	Witness  fair.Witness // of the bridge; nil: Guest.Port is certain
	Relays   []Relay      // that sent it on, the one next to us first

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

// Ends says whether the message is to end leases.
func (r *Request) Ends() bool {
	return r.Type == RELEASE || r.Type == DECLINE
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

// MAC returns the client's Ethernet address, or zero.
func (r *Request) MAC() lease.MAC {
	if r.FrameMAC != (lease.MAC{}) {
		return r.FrameMAC
	}
	if mac, ok := eui64(r.From); ok {
		return mac
	}
	return duidMAC(r.ClientID)
}

// eui64 returns the Ethernet address that a link-local address is made of, RFC
// 4291 appendix A.
func eui64(a netip.Addr) (lease.MAC, bool) {
	if !a.Is6() || !a.IsLinkLocalUnicast() {
		return lease.MAC{}, false
	}
	b := a.As16()
	if b[11] != 0xff || b[12] != 0xfe {
		return lease.MAC{}, false
	}
	return lease.MAC{b[8] ^ 2, b[9], b[10], b[13], b[14], b[15]}, true
}

// duidMAC returns the Ethernet address in a DUID-LLT or DUID-LL, RFC 8415
// §11.2 and §11.4.
func duidMAC(d []byte) (mac lease.MAC) {
	if len(d) < 4 || d[0] != 0 || d[2] != 0 || d[3] != 1 {
		return mac
	}
	switch {
	case d[1] == 1 && len(d) == 14:
		copy(mac[:], d[8:])
	case d[1] == 3 && len(d) == 10:
		copy(mac[:], d[4:])
	}
	return mac
}

// Parse reads the payload of a UDP packet to port 547: a client's message, or one
// that relays have sent on.
func Parse(b []byte) (Request, error) {
	var r Request
	if len(b) < 4 || len(b) > maxSize {
		return r, ErrSize
	}
	b, err := r.unwrap(b)
	if err != nil {
		return r, err
	}
	return r, r.read(b)
}

// read reads a client's message.
func (r *Request) read(b []byte) error {
	if len(b) < 4 {
		return ErrSize
	}
	r.Type = MessageType(b[0])
	if rules[r.Type] == 0 {
		return ErrType
	}
	copy(r.XID[:], b[1:])
	for b = b[4:]; len(b) > 0; {
		code, value, rest, ok := nextOption(b)
		if !ok {
			return ErrOption
		}
		b = rest
		if err := r.take(code, value); err != nil {
			return err
		}
	}
	return nil
}

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
	case optClientID:
		return takeDUID(&r.ClientID, value)
	case optServerID:
		return takeDUID(&r.ServerID, value)
	case optRapid:
		r.Rapid = true
	case optORO:
		r.ORO = value
	case optFQDN:
		r.takeFQDN(value)
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

func takeDUID(d *[]byte, value []byte) error {
	if *d != nil || !validDUID(string(value)) {
		return ErrDUID
	}
	*d = value
	return nil
}

// takeFQDN reads option 39, RFC 4704 §4: flags, and a name in the DNS's format
// that may lack its end.
func (r *Request) takeFQDN(b []byte) {
	if len(b) < 1 {
		return
	}
	r.FQDN, r.FQDNFlags = true, b[0]
	if len(b) > 1 && int(b[1]) < len(b)-1 {
		r.Hostname = b[2 : 2+int(b[1])]
	}
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
	ia := IA{Code: uint16(code), ID: binary.BigEndian.Uint32(b)}
	for _, o := range r.IAs() {
		if o.Code == ia.Code && o.ID == ia.ID {
			return nil // it says itself twice
		}
	}
	if err := ia.read(b[header:]); err != nil {
		return err
	}
	r.ias[r.n] = ia
	r.n++
	return nil
}

func (ia *IA) read(b []byte) error {
	for len(b) > 0 {
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
	return nil
}

// usual is sent to clients that do not say what they want: those of before RFC
// 8415, which have no option 6.
var usual = []byte{0, optDNS, 0, optSearch}

// asked returns the codes that the client wants, in its order.
func (r *Request) asked() iter.Seq[uint16] {
	codes := r.ORO
	if codes == nil {
		codes = usual
	}
	return func(yield func(uint16) bool) {
		for b := codes; len(b) >= 2; b = b[2:] {
			if !yield(binary.BigEndian.Uint16(b)) {
				return
			}
		}
	}
}

// wants says whether the client asked for an option.
func (r *Request) wants(code uint16) bool {
	for c := range r.asked() {
		if c == code {
			return true
		}
	}
	return false
}
