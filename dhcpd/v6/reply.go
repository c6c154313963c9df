package v6

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/option"
)

const (
	// preferUs ends a client's search: it need not wait a second for others
	// to advertise (RFC 8415 §18.2.1).
	preferUs = 255

	refreshTime = time.Hour // RFC 8415 §21.23; name servers may change

	// maxReply is the payload of a packet that any link carries whole (RFC 8200
	// §5).
	maxReply = 1280 - 40 - 8

	fqdnS, fqdnO = 1, 2 // RFC 4704 §4.1
)

// AppendReply adds the message that d.Reply says.
func (s *Service) AppendReply(b []byte, req *Request, d *Decision) []byte {
	start, limit := len(b), len(b)+maxReply
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
		t1, t2 := s.times(&d.IAs[i])
		b = d.IAs[i].append(b, t1, t2)
	}
	if d.Reply == ADVERTISE {
		b = append(b, 0, optPreference, 0, 1, preferUs)
	}
	if d.Rapid {
		b = append(b, 0, optRapid, 0, 0)
	}
	if d.configures() {
		b = s.appendConfig(b, req, d, limit)
	}
	return req.wrap(b, start)
}

// configures says whether an answer carries more than the state of leases.
func (d *Decision) configures() bool { return d.Status == nil }

// appendConfig adds what to boot and the options that the client asked for, in its
// order, each once, as far as they fit.
func (s *Service) appendConfig(b []byte, req *Request, d *Decision, limit int) []byte {
	set := d.options(req)
	var said codeSet
	b = s.appendBoot(b, req, d, limit, &said)
	for code := range req.asked() {
		if !said.add(code) {
			continue
		}
		switch {
		case code == optFQDN && req.FQDN && d.Hostname != "":
			if next := s.appendFQDN(b, req.FQDNFlags, d.Hostname); len(next) <= limit {
				b = next
			}
		case code == optRefresh && req.Type != INFORMATIONREQUEST: // RFC 8415 §21.23
		default:
			if o := set.Get(code); len(b)+len(o) <= limit {
				b = append(b, o...)
			}
		}
	}
	return b
}

// A codeSet has a bit for each option.
type codeSet [1 << 16 / 64]uint64

// add says whether the option is new.
func (c *codeSet) add(code uint16) bool {
	was := c[code/64]&(1<<(code%64)) != 0
	c[code/64] |= 1 << (code % 64)
	return !was
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
		name, _ = option.AppendName(name, s.domain)
	}
	return appendOption(b, optFQDN, name)
}

// append adds the option of an association (RFC 8415 §21.4, §21.5, §21.21).
func (r *IAReply) append(b []byte, t1, t2 uint32) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Code))
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, r.ID)
	if r.Code != optIATA {
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

// times are when to renew and to rebind: as the subnet says, or after a half and
// four fifths of the lifetime (RFC 8415 §21.4); never, if it does not end.
func (s *Service) times(r *IAReply) (t1, t2 uint32) {
	if sub := s.subnet(r.Address); sub != nil {
		t1, t2 = sub.t1, sub.t2
	}
	whole := r.Seconds == infiniteSeconds
	if t2 == 0 || t2 >= r.Seconds {
		t2 = uint32(uint64(r.Seconds) * 4 / 5)
		if whole {
			t2 = infiniteSeconds
		}
	}
	if t1 == 0 || t1 > t2 {
		t1 = min(r.Seconds/2, t2)
		if whole {
			t1 = t2
		}
	}
	return t1, t2
}

func appendAddress(b []byte, a netip.Addr, seconds uint32) []byte {
	b = append(b, 0, optIAAddr, 0, 24)
	octets := a.As16()
	b = append(b, octets[:]...)
	b = binary.BigEndian.AppendUint32(b, seconds)
	return binary.BigEndian.AppendUint32(b, seconds)
}

func appendStatus(b []byte, code StatusCode, text string) []byte {
	b = append(b, 0, optStatus, 0, byte(2+len(text)))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, text...)
}
