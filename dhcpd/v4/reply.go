package v4

import (
	"encoding/binary"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	// usual is sent to clients that do not say what they want (no option 55).
	usual = []byte{optMask, optRouter, optDNS, optHostname, optDomain}

	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// Destination returns where a reply goes, RFC 2131 §4.1; if that is not
// broadcast, to the client's MAC.
func (d *Decision) Destination(req *Request) (to netip.Addr, broadcast bool) {
	switch {
	case req.Relayed():
		return req.GIAddr, false
	case d.Reply == dhcpv4.MessageTypeNak:
		return limitedBroadcast, true
	case !req.CIAddr.IsUnspecified():
		return req.CIAddr, false
	case req.Broadcast():
		return limitedBroadcast, true
	}
	return d.Address, false
}

// AppendReply adds the message that d.Reply says, RFC 2131 §4.3.1, table 3. It
// is as long as the client's option 57 allows (576 octets with the headers if
// it has none); options that do not fit are left out, the least needed first.
func (s *Subnet) AppendReply(b []byte, req *Request, d *Decision) []byte {
	size := max(req.MaxSize, minMaxSize) - ipAndUDPHeaders
	w := writer{b: b, start: len(b), limit: len(b) + size - 1 - len(req.RelayInfo) - 2} // one for the end
	w.header(req, d)
	w.option(optMessageType, []byte{byte(d.Reply)})
	if req.ServerOverride.IsValid() {
		w.option(optServerID, req.ServerOverride.AsSlice())
	} else {
		w.whole(s.rendered[optServerID])
	}
	// RFC 6842: back to the client, so that it can tell the reply is its own.
	if len(req.ClientID) > 0 && len(req.ClientID) <= 255 {
		w.option(optClientID, req.ClientID)
	}
	if d.Reply == dhcpv4.MessageTypeNak {
		w.option(optMessage, []byte(d.Why.String()))
		return w.end(req.RelayInfo)
	}
	w.times(d)
	s.bootstrap(&w, req, d)
	s.requested(&w, req, d)
	return w.end(req.RelayInfo)
}

// requested adds the options that the client asked for, in its order, the
// mask first if it is among them (RFC 2132 §3.3).
func (s *Subnet) requested(w *writer, req *Request, d *Decision) {
	codes := req.Parameters
	if codes == nil {
		codes = usual
	}
	var sent [len(s.rendered)]bool
	for _, code := range codes {
		if code == optMask {
			w.whole(s.rendered[optMask])
			sent[optMask] = true
			break
		}
	}
	sent[optServerID] = true
	for _, code := range codes {
		if int(code) >= len(sent) || sent[code] {
			continue
		}
		sent[code] = true
		if code == optHostname && d.Hostname != "" {
			w.option(optHostname, []byte(d.Hostname))
		}
		w.whole(s.rendered[code])
	}
}

// writer appends a message. What does not fit is left out.
type writer struct {
	b            []byte
	start, limit int
}

var emptyHeader [offOptions]byte

func (w *writer) header(req *Request, d *Decision) {
	w.b = append(w.b, emptyHeader[:]...)
	h := w.b[w.start:]
	h[offOp], h[offHType], h[offHLen] = bootReply, ethernet, 6
	copy(h[offXID:], req.XID[:])
	binary.BigEndian.PutUint16(h[offFlags:], req.Flags)
	if d.Reply == dhcpv4.MessageTypeAck {
		put(h[offCIAddr:], req.CIAddr)
	}
	if d.Reply == dhcpv4.MessageTypeNak && req.Relayed() {
		h[offFlags] |= byte(flagBroadcast >> 8) // RFC 2131 §4.3.2
	}
	put(h[offYIAddr:], d.yourAddress())
	put(h[offGIAddr:], req.GIAddr)
	copy(h[offCHAddr:], req.MAC[:])
	binary.BigEndian.PutUint32(h[offCookie:], magicCookie)
}

func (d *Decision) yourAddress() netip.Addr {
	if d.Reply == dhcpv4.MessageTypeNak {
		return netip.Addr{}
	}
	return d.Address
}

func put(b []byte, a netip.Addr) {
	if a.Is4() {
		octets := a.As4()
		copy(b, octets[:])
	}
}

// times adds the lease time, T1 and T2 (RFC 2131 §4.4.5). INFORM has none, and
// a lease for ever has only the first.
func (w *writer) times(d *Decision) {
	if d.Seconds == 0 {
		return
	}
	w.number(optLeaseTime, d.Seconds)
	if d.Seconds == infiniteSeconds {
		return
	}
	w.number(optT1, d.Seconds/2)
	w.number(optT2, uint32(uint64(d.Seconds)*7/8))
}

func (w *writer) number(code byte, v uint32) {
	w.whole([]byte{code, 4, byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func (w *writer) option(code byte, value []byte) {
	if len(w.b)+2+len(value) <= w.limit {
		w.b = append(append(w.b, code, byte(len(value))), value...)
	}
}

// whole adds an option with its code and length; nil adds nothing.
func (w *writer) whole(o []byte) {
	if len(w.b)+len(o) <= w.limit {
		w.b = append(w.b, o...)
	}
}

// end adds what the relay wants back (RFC 3046 §2.2: as it was, and last), for
// which there is room.
func (w *writer) end(relayInfo []byte) []byte {
	if len(relayInfo) > 0 {
		w.b = append(append(w.b, optRelayInfo, byte(len(relayInfo))), relayInfo...)
	}
	w.b = append(w.b, optEnd)
	for len(w.b)-w.start < minMessage {
		w.b = append(w.b, optPad)
	}
	return w.b
}
