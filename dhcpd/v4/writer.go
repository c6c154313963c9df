package v4

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// A writer appends a message. What does not fit is left out.
type writer struct {
	b            []byte
	start, limit int // of the options, with room for option 52 and the end
	overload     byte
	used         [len(spare)]int
	relayInfo    []byte // what the relay wants back
}

// spare are the fields that have room for options where nothing else is in
// them: the boot file's and the server name's, with the bit that says so in
// option 52, in the order in which clients read them (RFC 3396 §5).
var spare = [...]struct {
	bit        byte
	begin, end int
}{{1, offFile, offCookie}, {2, offSName, offFile}}

// reservedOctets is the room for option 52 and for the end.
const reservedOctets = 3 + 1

func newWriter(b []byte, size int, relayInfo []byte) writer {
	if len(relayInfo) > 0 {
		size -= 2 + len(relayInfo)
	}
	return writer{b: b, start: len(b), limit: len(b) + size - reservedOctets, relayInfo: relayInfo}
}

var emptyHeader [offOptions]byte

func (w *writer) header(req *Request, d *Decision) {
	w.b = append(w.b, emptyHeader[:]...)
	h := w.b[w.start:]
	h[offOp], h[offHType], h[offHLen] = bootReply, ethernet, 6
	copy(h[offXID:], req.XID[:])
	binary.BigEndian.PutUint16(h[offFlags:], req.Flags)
	if d.Reply == DHCPACK {
		put(h[offCIAddr:], req.CIAddr)
	}
	if d.Reply == DHCPNAK && req.Relayed() {
		h[offFlags] |= byte(flagBroadcast >> 8) // RFC 2131 §4.3.2
	}
	put(h[offYIAddr:], d.yourAddress())
	put(h[offGIAddr:], req.GIAddr)
	copy(h[offCHAddr:], req.MAC[:])
	binary.BigEndian.PutUint32(h[offCookie:], magicCookie)
}

func (d *Decision) yourAddress() netip.Addr {
	if d.Reply == DHCPNAK {
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

func (w *writer) octets(code byte, v byte) { w.whole([]byte{code, 1, v}) }

func (w *writer) number(code byte, v uint32) {
	w.whole([]byte{code, 4, byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func (w *writer) addr(code byte, a netip.Addr) {
	b := a.As4()
	w.whole([]byte{code, 4, b[0], b[1], b[2], b[3]})
}

// option adds an option, in pieces if it is long (RFC 3396).
func (w *writer) option(code byte, value []byte) {
	if size := len(value) + 2*pieces(len(value)); len(w.b)+size <= w.limit {
		w.b = appendLong(w.b, code, value)
	}
}

// pad keeps an octet free behind option 67: UEFI writes a NUL behind the name,
// over the code of the next option, and loses all that follows with it (edk2's
// HttpBootDxe and UefiPxeBcDxe). Without the mask it declines its lease. A NUL in
// the option itself is not to be sent (RFC 2132 §2).
func (w *writer) pad() {
	if len(w.b) < w.limit {
		w.b = append(w.b, optPad)
	}
}

// pieces is in how many an option of a length comes.
func pieces(size int) int { return max(1, (size+math.MaxUint8-1)/math.MaxUint8) }

// whole adds an option with its code and length, and says whether there was
// one and it fitted.
func (w *writer) whole(o []byte) bool {
	if len(w.b)+len(o) > w.limit {
		return w.elsewhere(o)
	}
	w.b = append(w.b, o...)
	return len(o) > 0
}

// elsewhere adds an option to the first spare field that has room.
func (w *writer) elsewhere(o []byte) bool {
	for i := range spare {
		if w.spare(i, o) {
			return true
		}
	}
	return false
}

// spare adds an option to a spare field, if it has room.
func (w *writer) spare(i int, o []byte) bool {
	f := spare[i]
	field := w.b[w.start+f.begin : w.start+f.end]
	if w.used[i] == 0 && field[0] != 0 || w.used[i]+len(o)+1 > len(field) {
		return false
	}
	copy(field[w.used[i]:], o)
	w.used[i] += len(o)
	field[w.used[i]] = optEnd
	w.overload |= f.bit
	return true
}

// end adds what the relay wants back, for which there is room: as it was, and
// last (RFC 3046 §2.2).
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
