package v6

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

const (
	// maxPreference ends a client's search: it need not wait a second for other servers
	// to advertise (RFC 8415 §18.2.1).
	maxPreference = 255

	refreshTime = time.Hour // RFC 8415 §21.23; name servers may change

	// maxReply is the payload of a packet that no link fragments (RFC 8200 §5).
	maxReply = 1280 - 40 - 8

	fqdnS, fqdnO = 1, 2 // RFC 4704 §4.1

	// httpClient is what a client that boots by HTTP expects in option 16
	// (UEFI specification 2.10 §24.7.3.2).
	httpClient = "HTTPClient"
)

// AppendReply adds the message of d.Reply.
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
		b = s.appendIA(b, &d.IAs[i])
	}
	if d.Reply == ADVERTISE {
		b = append(b, 0, optPreference, 0, 1, maxPreference)
	}
	if d.Rapid {
		b = append(b, 0, optRapid, 0, 0)
	}
	if d.Status == nil {
		b = s.appendRequested(b, req, d, limit)
	}
	return req.wrap(b, start)
}

// appendIA adds the option of an association (RFC 8415 §21.4, §21.5, §21.21). T1 and T2 are
// those of the subnet, or a half and four fifths of the lifetime; infinite if that is.
func (s *Service) appendIA(b []byte, r *IAReply) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, r.Code)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, r.ID)
	if r.Code != optIATA {
		var t1, t2 uint32
		if sub := s.Subnet(r.Address); sub != nil {
			t1, t2 = sub.T1, sub.T2
		}
		infinite := r.Seconds == pool.InfiniteSeconds
		if t2 == 0 || t2 >= r.Seconds {
			t2 = uint32(uint64(r.Seconds) * 4 / 5)
			if infinite {
				t2 = pool.InfiniteSeconds
			}
		}
		if t1 == 0 || t1 > t2 {
			t1 = min(r.Seconds/2, t2)
			if infinite {
				t1 = t2
			}
		}
		b = binary.BigEndian.AppendUint32(b, t1)
		b = binary.BigEndian.AppendUint32(b, t2)
	}
	if r.Address.IsValid() {
		b = appendAddress(b, r.Address, r.Seconds)
	}
	for _, a := range r.Invalid {
		b = appendAddress(b, a, 0)
	}
	if r.Status != nil {
		b = appendStatus(b, *r.Status, r.Status.String())
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-4))
	return b
}

// appendRequested adds the boot file and the options that the client requested, in its
// order, each once, as far as they fit.
func (s *Service) appendRequested(b []byte, req *Request, d *Decision, limit int) []byte {
	set := d.book.Set(&option.Client{
		MAC: req.MAC(), Hostname: req.Hostname,
		VendorClass: option.Class{Value: req.VendorClass, Width: 2},
		UserClass:   option.Class{Value: req.UserClass, Width: 2},
	}, d.own)
	var sent codeSet
	b = s.appendBoot(b, req, d, limit, &sent)
	for code := range req.requested() {
		if !sent.add(code) {
			continue
		}
		switch {
		case code == optFQDN && req.FQDN && d.Hostname != "":
			// The server updates the AAAA record (RFC 4704 §6). The name is fully qualified
			// if the network has a domain.
			flags := byte(fqdnS)
			if req.FQDNFlags&fqdnS == 0 {
				flags |= fqdnO
			}
			name := append([]byte{flags, byte(len(d.Hostname))}, d.Hostname...)
			if s.domain != "" {
				name, _ = option.AppendName(name, s.domain)
			}
			if next := appendOption(b, optFQDN, name); len(next) <= limit {
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

// appendBoot adds the boot file, RFC 5970 §3, for a client that requests it. Options of
// the same code in Config.Options are for clients without a boot file.
func (s *Service) appendBoot(b []byte, req *Request, d *Decision, limit int, sent *codeSet) []byte {
	if s.boot == nil || !req.requests(optBootURL) {
		return b
	}
	f := s.boot.Choose(d.bootFile, &req.Boot)
	if f == nil {
		return b
	}
	sent.add(optBootURL)
	sent.add(optBootParams)
	next := appendOption(b, optBootURL, []byte(s.boot.URL(f, &req.Boot)))
	if len(f.Params) > 0 && req.requests(optBootParams) {
		var params []byte
		for _, p := range f.Params {
			params = appendText(params, p)
		}
		next = appendOption(next, optBootParams, params)
	}
	if req.Boot.HTTP {
		sent.add(optVendor)
		class := binary.BigEndian.AppendUint32(nil, req.Enterprise)
		next = appendOption(next, optVendor, appendText(class, httpClient))
	}
	if len(next) > limit {
		return b
	}
	return next
}

// appendText adds text with its length in front (RFC 5970 §3.2, RFC 8415 §21.16).
func appendText(b []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}

// A codeSet has a bit for each option.
type codeSet [1 << 16 / 64]uint64

// add adds an option, and reports whether it is new.
func (c *codeSet) add(code uint16) bool {
	was := c[code/64]&(1<<(code%64)) != 0
	c[code/64] |= 1 << (code % 64)
	return !was
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
