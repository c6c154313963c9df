package wire

import "encoding/binary"

// FindAlias looks among the answers of a reply to q for the first CNAME record with a
// target that stop accepts. It returns the number of records up to that one, and the
// target in wire form and small letters, valid until the next call; 0 if there is none.
// It allocates nothing.
func (q *Query) FindAlias(msg []byte, stop func(target []byte) bool) (n int, target []byte) {
	if len(msg) < HeaderLen {
		return 0, nil
	}
	p := parser{pkt: msg, off: HeaderLen}
	for range binary.BigEndian.Uint16(msg[4:]) {
		if !p.skipName() {
			return 0, nil
		}
		p.off += 4
	}
	for i := range int(binary.BigEndian.Uint16(msg[6:])) {
		if !p.skipName() || p.off+10 > len(msg) {
			return 0, nil
		}
		typ, data := binary.BigEndian.Uint16(msg[p.off:]), p.off+10
		p.off = data + int(binary.BigEndian.Uint16(msg[p.off+8:]))
		if p.off > len(msg) {
			return 0, nil
		}
		if typ != TypeCNAME {
			continue
		}
		if target, ok := nameAt(msg, data, q.scratch[:0]); ok && stop(target) {
			return i + 1, target
		}
	}
	return 0, nil
}

// nameAt appends the name at a place of a message, without compression and in small
// letters.
func nameAt(msg []byte, off int, buf []byte) ([]byte, bool) {
	for {
		l, ok := labelAt(msg, off)
		if !ok || len(buf)+1+l.size >= MaxName && l.size > 0 {
			return nil, false
		}
		buf = append(buf, byte(l.size))
		if l.size == 0 {
			return buf, true
		}
		for _, c := range msg[l.at:l.next()] {
			buf = append(buf, small(c))
		}
		off = l.next()
	}
}
