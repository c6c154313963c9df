package v6

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

const (
	// preferUs ends a client's search: it need not wait a second for others
	// to advertise (RFC 8415 §18.2.1).
	preferUs = 255

	refreshSeconds = 3600 // RFC 8415 §21.23; name servers may change

	fqdnS, fqdnO = 1, 2 // RFC 4704 §4.1
)

// AppendReply adds the message that d.Reply says.
func (s *Service) AppendReply(b []byte, req *Request, d *Decision) []byte {
	start := len(b)
	b = append(b, byte(d.Reply), req.XID[0], req.XID[1], req.XID[2])
	if req.ClientID != nil {
		b = appendOption(b, optClientID, req.ClientID)
	}
	b = append(b, 0, optServerID, 0, byte(len(s.duid)))
	b = append(b, s.duid...)
	if d.Status != nil {
		b = appendStatus(b, *d.Status, string(d.Why))
	}
	for i := range d.IAs {
		b = d.IAs[i].append(b)
	}
	if d.Reply == dhcpv6.MessageTypeAdvertise {
		b = append(b, 0, optPreference, 0, 1, preferUs)
	}
	if d.Rapid {
		b = append(b, 0, optRapid, 0, 0)
	}
	if d.configures() {
		b = s.appendConfig(b, req, d)
	}
	return req.wrap(b, start)
}

// configures says whether an answer carries more than the state of leases.
func (d *Decision) configures() bool { return d.Status == nil }

func (s *Service) appendConfig(b []byte, req *Request, d *Decision) []byte {
	if req.wants(optDNS) {
		b = append(b, s.dns...)
	}
	if req.wants(optSearch) {
		b = append(b, s.search...)
	}
	if req.Type == dhcpv6.MessageTypeInformationRequest && req.wants(optRefresh) {
		b = append(b, 0, optRefresh, 0, 4)
		b = binary.BigEndian.AppendUint32(b, refreshSeconds)
	}
	if req.FQDN && req.wants(optFQDN) && d.Hostname != "" {
		b = s.appendFQDN(b, req.FQDNFlags, d.Hostname)
	}
	return s.appendBoot(b, req)
}

// appendFQDN adds option 39: the AAAA record is ours to keep (RFC 4704 §6). The
// name is whole if the network has a domain.
func (s *Service) appendFQDN(b []byte, asked byte, host string) []byte {
	flags := byte(fqdnS)
	if asked&fqdnS == 0 {
		flags |= fqdnO
	}
	name := append([]byte{flags, byte(len(host))}, host...)
	if s.domain != "" {
		name, _ = appendName(name, s.domain)
	}
	return appendOption(b, optFQDN, name)
}

// append adds the option of an association (RFC 8415 §21.4, §21.5, §21.21).
func (r *IAReply) append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Code))
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, r.ID)
	if r.Code != optIATA {
		t1, t2 := r.times()
		b = binary.BigEndian.AppendUint32(b, t1)
		b = binary.BigEndian.AppendUint32(b, t2)
	}
	if r.Address.IsValid() {
		b = appendAddress(b, r.Address, r.Seconds)
	}
	for _, a := range r.Gone {
		b = appendAddress(b, a, 0)
	}
	if r.Status != nil {
		b = appendStatus(b, *r.Status, r.Status.String())
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-4))
	return b
}

// times are when to renew and to rebind: after a half and four fifths of the
// lifetime, RFC 8415 §21.4.
func (r *IAReply) times() (t1, t2 uint32) {
	if r.Seconds == math.MaxUint32 {
		return r.Seconds, r.Seconds
	}
	return r.Seconds / 2, uint32(uint64(r.Seconds) * 4 / 5)
}

func appendAddress(b []byte, a netip.Addr, seconds uint32) []byte {
	b = append(b, 0, optIAAddr, 0, 24)
	octets := a.As16()
	b = append(b, octets[:]...)
	b = binary.BigEndian.AppendUint32(b, seconds)
	return binary.BigEndian.AppendUint32(b, seconds)
}

func appendStatus(b []byte, code iana.StatusCode, text string) []byte {
	b = append(b, 0, optStatus, 0, byte(2+len(text)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, text...)
}
