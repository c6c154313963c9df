package nft

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"

	"golang.org/x/sys/unix"
)

// Attributes that golang.org/x/sys does not name (linux/netfilter/nf_tables.h).
const (
	attrTableUserdata  = 6
	attrTableOwner     = 7
	attrSetExpr        = 17
	attrSetExpressions = 18
	attrElemKeyEnd     = 10
	attrSetDescConcat  = 2
	attrSetFieldLen    = 1

	tableFlagOwner   = 2
	tableFlagPersist = 4
)

// attr is a netlink attribute; at is its offset in what was parsed.
type attr struct {
	typ  uint16
	data []byte
	at   int
}

// each yields the attributes in b, up to the first that is malformed.
func each(b []byte) iter.Seq[attr] {
	return func(yield func(attr) bool) {
		for at := 0; len(b)-at >= 4; {
			n := int(binary.NativeEndian.Uint16(b[at:]))
			if n < 4 || at+n > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[at+2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(attr{typ: typ, data: b[at+4 : at+n], at: at}) {
				return
			}
			at += align(n)
		}
	}
}

// attrs returns the attributes in b, up to the first that is malformed.
func attrs(b []byte) []attr { return slices.Collect(each(b)) }

// seek follows a path of nested attributes and returns the data at its end, or
// nil.
func seek(b []byte, path ...uint16) []byte {
	for _, typ := range path {
		var found []byte
		for a := range each(b) {
			if a.typ == typ {
				found = a.data
				break
			}
		}
		if found == nil {
			return nil
		}
		b = found
	}
	return b
}

// attributes returns the attributes of a message of nfnetlink.
func (m message) attributes() []attr {
	if len(m.data) < 4 {
		return nil
	}
	return attrs(m.data[4:])
}

func (m message) family() uint8 {
	if len(m.data) == 0 {
		return 0
	}
	return m.data[0]
}

// get returns the data of the first attribute of the type, or nil.
func get(list []attr, typ uint16) []byte {
	for _, a := range list {
		if a.typ == typ {
			return a.data
		}
	}
	return nil
}

// text returns an attribute that is a string.
func text(list []attr, typ uint16) string {
	b, _, _ := bytes.Cut(get(list, typ), []byte{0})
	return string(b)
}

// number returns an attribute that is a big-endian number of four bytes, or 0.
func number(list []attr, typ uint16) uint32 {
	if b := get(list, typ); len(b) == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// appendAttr adds an attribute to b.
func appendAttr(b []byte, typ uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	return append(b, make([]byte, align(len(data))-len(data))...)
}

// appendFilled adds an attribute with what fill adds.
func appendFilled(b []byte, typ uint16, fill func(b []byte) []byte) []byte {
	at := len(b)
	b = fill(appendAttr(b, typ, nil))
	n := len(b) - at
	binary.NativeEndian.PutUint16(b[at:], uint16(n))
	return append(b, make([]byte, align(n)-n)...)
}

func appendText(b []byte, typ uint16, s string) []byte {
	return appendFilled(b, typ, func(b []byte) []byte { return append(append(b, s...), 0) })
}

func appendNumber(b []byte, typ uint16, n uint32) []byte {
	return appendFilled(b, typ, func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, n) })
}
