package v4

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

var (
	// defaultParameters are sent to clients without option 55.
	defaultParameters = []byte{optMask, optRouter, optDNS, optHostname, optDomain}
	// essential options come before the rest: without them a client is cut off, or does
	// not know its name.
	essential = []byte{optRouter, optDNS, optIPv6Only, optMTU, optBroadcast, optDomain, optHostname, optFQDN}
	// automatic options are in every reply, or in none, requested or not; and option 81 is
	// for clients that sent it.
	automatic = codeSet{}.with(optPad, optLeaseTime, optOverload, optMessageType, optServerID, optT1, optT2, optClientID, optFQDN, optEnd)

	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// The flags of option 81, RFC 4702 §2.1, and what is before the name.
const (
	fqdnS      = 1 << iota // the server updates the A record
	fqdnO                  // it does so although the client asked for the opposite
	fqdnE                  // the name is in the DNS's format
	fqdnHeader = 3         // flags and two result codes

	noResult = 255 // of the codes, which clients must ignore (§2.2)
	maxFQDN  = fqdnHeader + 64 + 255
)

const (
	// httpClient is what a client that boots by HTTP expects in option 60 (UEFI
	// specification 2.10 §24.7.3): it ignores other replies.
	httpClient = "HTTPClient"

	maxFile         = 255 // octets of a boot file's name in an option
	maxFileInHeader = offCookie - offFile - 1
)

// Destination returns where a reply goes, RFC 2131 §4.1; if that is not
// broadcast, to the client's MAC.
func (d *Decision) Destination(req *Request) (to netip.Addr, broadcast bool) {
	switch {
	case req.Relayed():
		return req.GIAddr, false
	case d.Reply == DHCPNAK:
		return limitedBroadcast, true
	case !req.CIAddr.IsUnspecified():
		return req.CIAddr, false
	case req.Flags&flagBroadcast != 0: // the client cannot receive unicast yet
		return limitedBroadcast, true
	}
	return d.Address, false
}

// AppendReply adds the message of d.Reply, RFC 2131 §4.3.1, table 3. It
// is as long as the client's option 57 and the link allow (576 octets with the
// headers if there is no option 57). What does not fit into the options field
// goes into those of the boot file and the server name (option 52), and what
// does not fit there is left out, the least essential first.
func (s *Subnet) AppendReply(b []byte, req *Request, d *Decision) []byte {
	size := max(min(req.MaxSize, s.maxSize), minMaxSize) - ipAndUDPHeaders
	if len(req.RelayInfo) > 0 {
		size -= 2 + len(req.RelayInfo)
	}
	w := writer{start: len(b), limit: len(b) + size - reservedOctets, relayInfo: req.RelayInfo, b: append(b, emptyHeader[:]...)}
	h := w.b[w.start:]
	h[offOp], h[offHType], h[offHLen] = bootReply, ethernet, 6
	copy(h[offXID:], req.XID[:])
	binary.BigEndian.PutUint16(h[offFlags:], req.Flags)
	switch d.Reply {
	case DHCPACK:
		putAddr(h[offCIAddr:], req.CIAddr)
		fallthrough
	case DHCPOFFER:
		putAddr(h[offYIAddr:], d.Address)
	case DHCPNAK:
		if req.Relayed() {
			h[offFlags] |= byte(flagBroadcast >> 8) // RFC 2131 §4.3.2
		}
	}
	putAddr(h[offGIAddr:], req.GIAddr)
	copy(h[offCHAddr:], req.MAC[:])
	binary.BigEndian.PutUint32(h[offCookie:], magicCookie)

	w.add([]byte{optMessageType, 1, byte(d.Reply)})
	id := s.Server
	if req.ServerOverride.IsValid() {
		id = req.ServerOverride
	}
	octets := id.As4()
	w.add([]byte{optServerID, 4, octets[0], octets[1], octets[2], octets[3]})
	// RFC 6842: back to the client, so that it recognizes its reply.
	if len(req.ClientID) > 0 {
		w.option(optClientID, req.ClientID)
	}
	if d.Reply == DHCPNAK {
		w.option(optMessage, []byte(d.Why))
		return w.end()
	}
	sent := s.addBoot(&w, req, d)
	if d.Seconds != 0 {
		s.addTimes(&w, d.Seconds)
	}
	s.addRequested(&w, req, d, sent)
	return w.end()
}

// addTimes adds the lease time, T1 and T2 (RFC 2131 §4.4.5). INFORM has none, and
// an infinite lease has T1 and T2 only if they are configured.
func (s *Subnet) addTimes(w *writer, seconds uint32) {
	t1, t2 := s.T1, s.T2
	if t2 == 0 || t2 >= seconds {
		t2 = uint32(uint64(seconds) * 7 / 8)
	}
	if t1 == 0 || t1 >= t2 {
		t1 = min(seconds/2, t2)
	}
	number := func(code byte, v uint32) {
		w.add([]byte{code, 4, byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	}
	number(optLeaseTime, seconds)
	if seconds != pool.InfiniteSeconds || s.T1 != 0 {
		number(optT1, t1)
	}
	if seconds != pool.InfiniteSeconds || s.T2 != 0 {
		number(optT2, t2)
	}
}

// addBoot adds the boot file: in the header, where all ROMs look, and in the
// options that the client requests. Where the name is too long for the header
// it is an option in any case. It comes before all that may use the header's
// field for options. It returns the options that it decides on: those
// of the same code in Config.Options are for clients without a boot file.
func (s *Subnet) addBoot(w *writer, req *Request, d *Decision) (sent codeSet) {
	if s.boot == nil {
		return sent
	}
	client := boot.Client{Archs: req.ClientArch}
	client.VendorClass(req.VendorClass)
	client.UserClass(req.UserClass)
	f := s.boot.Choose(d.bootFile, &client)
	if f == nil {
		return sent
	}
	name := s.boot.Name(f, &client)
	header := w.b[w.start:]
	putAddr(header[offSIAddr:], s.boot.Server)
	inHeader := len(name) <= maxFileInHeader
	if inHeader {
		copy(header[offFile:], name)
	}
	// HTTPClient is not requested, and needed (see httpClient).
	if client.HTTP {
		w.option(optVendorClass, []byte(httpClient))
		sent = sent.with(optVendorClass)
	}
	requests := func(code byte) bool { return bytes.IndexByte(req.Parameters, code) >= 0 }
	if len(name) <= maxFile && (requests(optBootFile) || client.HTTP || !inHeader) {
		w.option(optBootFile, []byte(name))
		// Keep an octet free behind option 67: UEFI writes a NUL behind the name,
		// over the code of the next option, and loses all that follows with it (edk2's
		// HttpBootDxe and UefiPxeBcDxe). Without the mask it declines its lease. A NUL in
		// the option itself is not to be sent (RFC 2132 §2).
		if len(w.b) < w.limit {
			w.b = append(w.b, optPad)
		}
	}
	if requests(optServerName) {
		w.option(optServerName, []byte(s.boot.Server.String()))
	}
	// RFC 4578 §2.3: back to the client, unchanged.
	if client.Boots() && len(req.MachineID) > 0 && len(req.MachineID) <= maxFile {
		w.option(optMachineID, req.MachineID)
		sent = sent.with(optMachineID)
	}
	return sent.with(optServerName, optBootFile)
}

// addRequested adds the options that the client requested: first the essential ones,
// and then in its order, which is that of its preference (RFC 2132 §9.8).
// The mask comes before any router (§3.3). An option that was sent already is not sent
// again: clients would join the two (RFC 3396).
func (s *Subnet) addRequested(w *writer, req *Request, d *Decision, sent codeSet) {
	codes := req.Parameters
	if codes == nil {
		codes = defaultParameters
	}
	left := codeSet{}.with(codes...).without(automatic)
	if req.FQDN {
		left = left.with(optFQDN) // RFC 4702 §4: to a client that sent it
	}
	left = left.without(sent)
	set := s.Book.Set(&option.Client{
		MAC: req.MAC, Hostname: req.Hostname,
		VendorClass: option.Class{Value: req.VendorClass},
		UserClass:   option.Class{Value: req.UserClass, Width: 1},
	}, d.own)
	if left.take(optMask) {
		w.add(set.Get(optMask))
	}
	if left.has(optRoutes) && w.add(set.Get(optRoutes)) {
		// RFC 3442: they have the default route, and these are not sent besides.
		left = left.without(codeSet{}.with(optRoutes, optRouter, optStaticRoutes))
	}
	for _, codes := range [2][]byte{essential, req.Parameters} {
		for _, code := range codes {
			switch {
			case !left.take(code):
			case code == optFQDN && d.Name != "":
				var value [maxFQDN]byte
				w.option(optFQDN, appendFQDN(value[:0], req.FQDNFlags, d.Name, s.domain))
			case code == optHostname && d.Hostname != "":
				w.option(optHostname, []byte(d.Hostname))
			default:
				w.add(set.Get(uint16(code)))
			}
		}
	}
}

// appendFQDN adds the value of option 81 for a client that sent it: its name in
// the DNS, in the client's encoding. The server updates the A record (RFC 4702 §4).
//
// Deviation: a client that wants no record (N) has one all the same, as has any
// guest with a name, and is told so.
func appendFQDN(b []byte, asked byte, host, domain string) []byte {
	flags := byte(fqdnS) | asked&fqdnE
	if asked&fqdnS == 0 {
		flags |= fqdnO
	}
	b = append(b, flags, noResult, noResult)
	if flags&fqdnE == 0 {
		b = append(b, host...)
		if domain != "" {
			b = append(append(b, '.'), domain...)
		}
		return b
	}
	b = append(append(b, byte(len(host))), host...)
	if domain != "" {
		b, _ = option.AppendName(b, domain)
	}
	return b
}

// A codeSet is a set of options.
type codeSet [256 / 64]uint64

func (c codeSet) with(codes ...byte) codeSet {
	for _, code := range codes {
		c[code/64] |= 1 << (code % 64)
	}
	return c
}

func (c codeSet) without(o codeSet) codeSet {
	for i := range c {
		c[i] &^= o[i]
	}
	return c
}

func (c *codeSet) has(code byte) bool { return c[code/64]&(1<<(code%64)) != 0 }

// take removes an option, and reports whether it was there.
func (c *codeSet) take(code byte) bool {
	was := c.has(code)
	c[code/64] &^= 1 << (code % 64)
	return was
}

// A writer appends a message. What does not fit is left out.
type writer struct {
	b            []byte
	start, limit int // of the options, with room for option 52 and the end
	overload     byte
	used         [len(spare)]int
	relayInfo    []byte // option 82, to be sent back
}

// spare are the fields that have room for options where nothing else is in
// them: the boot file's and the server name's, with the bit of option 52 that announces
// it, in the order in which clients read them (RFC 3396 §5).
var spare = [...]struct {
	bit        byte
	begin, end int
}{{1, offFile, offCookie}, {2, offSName, offFile}}

// reservedOctets is the room for option 52 and for the end.
const reservedOctets = 3 + 1

var emptyHeader [offOptions]byte

func putAddr(b []byte, a netip.Addr) {
	if a.Is4() {
		octets := a.As4()
		copy(b, octets[:])
	}
}

// option adds an option, in pieces if it is long (RFC 3396).
func (w *writer) option(code byte, value []byte) {
	if size := len(value) + 2*pieces(len(value)); len(w.b)+size <= w.limit {
		w.b = appendLong(w.b, code, value)
	}
}

// add adds an option with its code and length, to the options field or to a spare
// one, and reports whether there was one and it fitted.
func (w *writer) add(o []byte) bool {
	if len(w.b)+len(o) <= w.limit {
		w.b = append(w.b, o...)
		return len(o) > 0
	}
	for i, f := range spare {
		field := w.b[w.start+f.begin : w.start+f.end]
		if w.used[i] == 0 && field[0] != 0 || w.used[i]+len(o)+1 > len(field) {
			continue
		}
		copy(field[w.used[i]:], o)
		w.used[i] += len(o)
		field[w.used[i]] = optEnd
		w.overload |= f.bit
		return true
	}
	return false
}

// end adds option 82, for which there is room: unchanged, and last (RFC 3046 §2.2).
func (w *writer) end() []byte {
	if w.overload != 0 {
		w.b = append(w.b, optOverload, 1, w.overload)
	}
	if len(w.relayInfo) > 0 {
		w.b = append(append(w.b, optRelayInfo, byte(len(w.relayInfo))), w.relayInfo...)
	}
	w.b = append(w.b, optEnd)
	for len(w.b)-w.start < minMessage {
		w.b = append(w.b, optPad)
	}
	return w.b
}

// pieces returns the number of pieces that an option of a length comes in.
func pieces(size int) int { return max(1, (size+math.MaxUint8-1)/math.MaxUint8) }

func appendLong(b []byte, code byte, value []byte) []byte {
	for len(value) > math.MaxUint8 {
		b = append(append(b, code, math.MaxUint8), value[:math.MaxUint8]...)
		value = value[math.MaxUint8:]
	}
	return append(append(b, code, byte(len(value))), value...)
}
