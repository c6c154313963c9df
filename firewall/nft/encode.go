package nft

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// nftType returns the type of a message to nf_tables.
func nftType(msg int) uint16 { return uint16(unix.NFNL_SUBSYS_NFTABLES<<8 | msg) }

func family(f firewall.Family) byte {
	if f == firewall.Bridge {
		return unix.NFPROTO_BRIDGE
	}
	return unix.NFPROTO_INET
}

// header is how every message to nf_tables begins.
func header(f firewall.Family) []byte { return []byte{family(f), unix.NFNETLINK_V0, 0, 0} }

// newTable creates a table, or takes over one without an owner, with the flags.
func newTable(t firewall.Table, flags uint32) message {
	b := appendText(header(t.Family), unix.NFTA_TABLE_NAME, t.Name)
	if flags != 0 {
		b = appendNumber(b, unix.NFTA_TABLE_FLAGS, flags)
	}
	return message{typ: nftType(unix.NFT_MSG_NEWTABLE), flags: unix.NLM_F_REQUEST | unix.NLM_F_CREATE, data: b}
}

func delTable(t firewall.Table) message {
	b := appendText(header(t.Family), unix.NFTA_TABLE_NAME, t.Name)
	return message{typ: nftType(unix.NFT_MSG_DELTABLE), flags: unix.NLM_F_REQUEST, data: b}
}

// encoder collects the messages about the objects of a table.
type encoder struct {
	table firewall.Table
	out   []message
}

// begin returns the beginning of a message about an object, in a buffer of that size.
func (e *encoder) begin(size int, nameAttr uint16, name string) []byte {
	b := append(make([]byte, 0, size), header(e.table.Family)...)
	return appendText(appendText(b, unix.NFTA_TABLE_NAME, e.table.Name), nameAttr, name)
}

func (e *encoder) end(msg int, flags uint16, b []byte) {
	e.out = append(e.out, message{typ: nftType(msg), flags: unix.NLM_F_REQUEST | flags, data: b})
}

// hookNumbers are the same in the families inet and bridge.
var hookNumbers = map[string]uint32{
	"prerouting": unix.NF_INET_PRE_ROUTING, "input": unix.NF_INET_LOCAL_IN, "forward": unix.NF_INET_FORWARD,
	"output": unix.NF_INET_LOCAL_OUT, "postrouting": unix.NF_INET_POST_ROUTING,
}

const policyAccept = 1 // NF_ACCEPT

// encodeTable returns the messages that fill a new table.
func encodeTable(t firewall.Table) ([]message, error) {
	return encodeEdit(firewall.Edit{Table: t, AddSets: t.Sets, AddChains: t.Chains, AddElements: t.Sets})
}

// encodeEdit returns the messages of an edit, in an order in which none refers to an object
// that does not exist.
func encodeEdit(edit firewall.Edit) ([]message, error) {
	const size = 64
	e := encoder{table: edit.Table}
	for i := range edit.AddSets {
		e.addSet(&edit.AddSets[i], uint32(i+1))
	}
	for _, c := range edit.AddChains {
		b := e.begin(2*size, unix.NFTA_CHAIN_NAME, c.Name)
		if h, ok := c.Base.Hook(); ok {
			b = appendFilled(b, unix.NLA_F_NESTED|unix.NFTA_CHAIN_HOOK, func(b []byte) []byte {
				b = appendNumber(b, unix.NFTA_HOOK_HOOKNUM, hookNumbers[h.Hook])
				return appendNumber(b, unix.NFTA_HOOK_PRIORITY, uint32(h.Priority))
			})
			b = appendNumber(b, unix.NFTA_CHAIN_POLICY, policyAccept)
			b = appendText(b, unix.NFTA_CHAIN_TYPE, h.Type)
		}
		e.end(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, b)
	}
	for _, c := range edit.AddChains {
		for _, r := range c.Rules {
			if err := e.addRule(c.Name, r); err != nil {
				return nil, fmt.Errorf("encode rule %q of chain %s: %w", r, c.Name, err)
			}
		}
	}
	for i := range edit.DelElements {
		e.elements(&edit.DelElements[i], unix.NFT_MSG_DELSETELEM)
	}
	for i := range edit.AddElements {
		e.elements(&edit.AddElements[i], unix.NFT_MSG_NEWSETELEM)
	}
	for _, c := range edit.DelChains { // all rules, as there is no rule's handle
		e.end(unix.NFT_MSG_DELRULE, 0, e.begin(size, unix.NFTA_RULE_CHAIN, c.Name))
	}
	for _, c := range edit.DelChains {
		e.end(unix.NFT_MSG_DELCHAIN, 0, e.begin(size, unix.NFTA_CHAIN_NAME, c.Name))
	}
	for _, s := range edit.DelSets {
		e.end(unix.NFT_MSG_DELSET, 0, e.begin(size, unix.NFTA_SET_NAME, s.Name))
	}
	return e.out, nil
}

// keyTypes are nft's numbers of types (enum datatypes in its datatype.h), and the lengths of
// values. The target of neighbour discovery is an integer as long as an address.
var keyTypes = map[firewall.Type]struct{ number, len uint32 }{
	firewall.IfName: {41, unix.IFNAMSIZ}, firewall.EtherAddr: {9, 6}, firewall.MarkValue: {19, 4},
	firewall.IPv4Addr: {7, 4}, firewall.IPv6Addr: {8, 16}, firewall.NDTargetAddr: {4, 16},
	firewall.InetProto: {12, 1}, firewall.InetService: {13, 2}, firewall.ICMPType: {14, 1}, firewall.ICMPv6Type: {29, 1},
}

// concat returns the number and the length of a concatenation of types.
func concat(types ...firewall.Type) (number, size uint32) {
	if len(types) == 1 {
		t := keyTypes[types[0]]
		return t.number, t.len
	}
	for _, t := range types {
		number = number<<6 | keyTypes[t].number
		size += uint32(align(int(keyTypes[t].len)))
	}
	return number, size
}

// addSet writes the message about a set without its elements.
func (e *encoder) addSet(s *firewall.Set, id uint32) {
	const concatenation, mapToVerdicts = 0x80, 0xffffff00 // NFT_SET_CONCAT, NFT_DATA_VERDICT
	key, keyLen := concat(s.Key...)
	// The kernel must know the fields of a key to find intervals in each.
	flags, fields := uint32(0), s.Interval && len(s.Key) > 1
	for flag, is := range map[uint32]bool{
		unix.NFT_SET_INTERVAL: s.Interval, unix.NFT_SET_MAP: s.Verdicts || s.To != 0, concatenation: fields,
		unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL: s.Dynamic.Size > 0,
	} {
		if is {
			flags |= flag
		}
	}
	b := e.begin(256, unix.NFTA_SET_NAME, s.Name)
	b = appendNumber(b, unix.NFTA_SET_FLAGS, flags)
	b = appendNumber(b, unix.NFTA_SET_KEY_TYPE, key)
	b = appendNumber(b, unix.NFTA_SET_KEY_LEN, keyLen)
	b = appendNumber(b, unix.NFTA_SET_ID, id)
	if s.Verdicts {
		b = appendNumber(b, unix.NFTA_SET_DATA_TYPE, mapToVerdicts)
		b = appendNumber(b, unix.NFTA_SET_DATA_LEN, 0)
	}
	if s.To != 0 {
		to, toLen := concat(s.To, firewall.InetService)
		b = appendNumber(b, unix.NFTA_SET_DATA_TYPE, to)
		b = appendNumber(b, unix.NFTA_SET_DATA_LEN, toLen)
	}
	if d := s.Dynamic; d.Size > 0 {
		b = appendAttr(b, unix.NFTA_SET_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(d.Timeout.Milliseconds())))
	}
	if s.Dynamic.Size > 0 || fields {
		b = appendFilled(b, unix.NLA_F_NESTED|unix.NFTA_SET_DESC, func(b []byte) []byte {
			if s.Dynamic.Size > 0 {
				b = appendNumber(b, unix.NFTA_SET_DESC_SIZE, uint32(s.Dynamic.Size))
			}
			if !fields {
				return b
			}
			return appendFilled(b, unix.NLA_F_NESTED|attrSetDescConcat, func(b []byte) []byte {
				for _, t := range s.Key {
					b = appendAttr(b, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, appendNumber(nil, attrSetFieldLen, keyTypes[t].len))
				}
				return b
			})
		})
	}
	// How nft reads a key: as big-endian numbers, or in the host's order, without which it
	// lists every name as "".
	data, order := typeof(s), uint32(2)
	if len(s.Key) == 1 && s.Key[0] == firewall.IfName || s.Key[0] == firewall.MarkValue {
		order = 1
	}
	if data == nil {
		data = userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, order)
	}
	b = appendAttr(b, unix.NFTA_SET_USERDATA, data)
	if s.Counter {
		b = appendAttr(b, unix.NLA_F_NESTED|attrSetExpr, appendText(nil, unix.NFTA_EXPR_NAME, "counter"))
	}
	e.end(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, b)
}

// typeof describes the key of a set by expressions, as nft does in the set's user data
// (libnftnl's udata.h, and expr_build_udata of nft): without it, nft lists a key that it
// does not read again. The kernel has no use for it. It returns nil for other sets.
func typeof(s *firewall.Set) []byte {
	const (
		meta, payload, concatenated = 9, 7, 13 // nft's numbers of expressions
		expression, data            = 0, 1     // attributes of a description
		description, field          = 0, 1     // attributes of a payload that nft has names for
		base, offset, length        = 2, 3, 4  // and of one that it has not
		transportHeader, targetBits = 3, 8 * 16
	)
	if !s.Typeof() {
		return nil
	}
	number := func(b []byte, typ userdata.Type, n uint32) []byte { return userdata.AppendUint32(b, typ, n) }
	describe := func(kind uint32, is []byte) []byte { return userdata.Append(number(nil, expression, kind), data, is) }
	var of [][]byte
	for _, t := range s.Key {
		if t == firewall.IfName {
			of = append(of, describe(meta, number(nil, 0, uint32(expr.MetaKeyIIFNAME))))
			continue
		}
		is := number(number(number(nil, description, 0), field, 0), base, transportHeader)
		is = number(number(is, offset, fields[firewall.NDTarget].offset*8), length, targetBits)
		of = append(of, describe(payload, is))
	}
	key, order := of[0], uint32(2) // big-endian
	if len(of) > 1 {
		var list []byte
		for i, x := range of {
			list = userdata.Append(list, userdata.Type(i), x)
		}
		key, order = describe(concatenated, list), 0
	}
	return userdata.Append(number(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, order), userdata.NFTNL_UDATA_SET_KEY_TYPEOF, key)
}

// elements writes messages about a set's elements, each at most as long as its
// attributes can be.
func (e *encoder) elements(s *firewall.Set, msg int) {
	for left := s.Elements; len(left) > 0; {
		b := e.begin(min(128*(1+len(left)), math.MaxUint16), unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		b = appendFilled(b, unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(b []byte) []byte {
			for len(left) > 0 && len(b) < math.MaxUint16-maxElement {
				b, left = appendElement(b, s, &left[0]), left[1:]
			}
			return b
		})
		e.end(msg, unix.NLM_F_CREATE, b)
	}
}

// maxElement exceeds what appendElement appends: keys of at most 64 octets, the name of a
// chain and a comment of at most 255.
const maxElement = 1024

// appendElement adds an element, and the one that ends its interval if that is a message's
// element of its own: in sets with one field, at the first value that is outside, if there
// is one.
func appendElement(b []byte, s *firewall.Set, el *firewall.Element) []byte {
	value := func(b []byte, typ uint16, v []byte) []byte {
		return appendFilled(b, unix.NLA_F_NESTED|typ, func(b []byte) []byte { return appendAttr(b, unix.NFTA_DATA_VALUE, v) })
	}
	first, last, n := keyBounds(s, el)
	b = appendFilled(b, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, func(b []byte) []byte {
		b = value(b, unix.NFTA_SET_ELEM_KEY, first[:n])
		if s.Interval && len(s.Key) > 1 {
			b = value(b, attrElemKeyEnd, last[:n])
		}
		if s.Verdicts {
			b = appendVerdict(b, el.Verdict)
		}
		if s.To != 0 {
			port := []byte{byte(el.To.Port() >> 8), byte(el.To.Port()), 0, 0}
			b = value(b, unix.NFTA_SET_ELEM_DATA, append(el.To.Addr().AsSlice(), port...))
		}
		if el.Comment != "" {
			b = appendComment(b, unix.NFTA_SET_ELEM_USERDATA, el.Comment)
		}
		return b
	})
	if s.Interval && len(s.Key) == 1 {
		i := n - 1 // one more than last, a big-endian number
		for last[i]++; last[i] == 0 && i > 0; i-- {
			last[i-1]++
		}
		if last == [64]byte{} {
			return b
		}
		b = appendFilled(b, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, func(b []byte) []byte {
			b = appendNumber(b, unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
			return value(b, unix.NFTA_SET_ELEM_KEY, last[:n])
		})
	}
	return b
}

func appendVerdict(b []byte, v firewall.Verdict) []byte {
	return appendFilled(b, unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_DATA, func(b []byte) []byte {
		return appendFilled(b, unix.NLA_F_NESTED|unix.NFTA_DATA_VERDICT, func(b []byte) []byte {
			b = appendNumber(b, unix.NFTA_VERDICT_CODE, uint32(verdicts[v.Kind]))
			if v.Chain != "" {
				b = appendText(b, unix.NFTA_VERDICT_CHAIN, v.Chain)
			}
			return b
		})
	})
}

// keyBounds returns the first and last key that an element stands for, and their length.
// In a key of several fields, each begins at a multiple of four bytes.
func keyBounds(s *firewall.Set, e *firewall.Element) (first, last [64]byte, n int) {
	for i, t := range s.Key {
		f, l, size := bounds(t, e.Key[i])
		copy(first[n:], f[:size])
		copy(last[n:], l[:size])
		if n += size; len(s.Key) > 1 {
			n = align(n)
		}
	}
	return first, last, n
}

// bounds returns the first and the last value that v stands for, and their length.
func bounds(t firewall.Type, v firewall.Value) (first, last [16]byte, size int) {
	first, last = v.Octets(), v.Octets()
	switch t {
	case firewall.IfName:
		return first, last, unix.IFNAMSIZ
	case firewall.EtherAddr:
		return first, last, 6
	case firewall.MarkValue:
		binary.NativeEndian.PutUint32(first[:], uint32(v.Numbers().Start))
		return first, first, 4
	case firewall.InetService:
		copy(last[:], last[2:4])
		return first, last, 2
	case firewall.IPv4Addr, firewall.IPv6Addr, firewall.NDTargetAddr:
		size = len(first)
		if t == firewall.IPv4Addr {
			size = 4
		}
		for bit := v.Bits(); bit < size*8; bit++ {
			first[bit/8] &^= 0x80 >> (bit % 8)
			last[bit/8] |= 0x80 >> (bit % 8)
		}
		return first, last, size
	}
	first[0], last[0] = first[1], last[3]
	return first, last, 1
}

// addRule writes the message about a rule. google/nftables encodes its expressions, except a
// masquerade with ports: v0.3.0 leaves out the flag without which the kernel ignores them, and
// "nft list" shows the ports all the same.
func (e *encoder) addRule(chain string, r firewall.Rule) error {
	exprs, err := encodeRule(e.table.Family, r)
	if err != nil {
		return err
	}
	var list []byte
	for _, x := range exprs {
		b, err := expr.Marshal(family(e.table.Family), x)
		if m, ok := x.(*expr.Masq); ok && m.ToPorts && err == nil {
			b, err = expr.MarshalExprData(family(e.table.Family), x)
			b = appendNumber(b, unix.NFTA_MASQ_FLAGS, unix.NF_NAT_RANGE_PROTO_SPECIFIED)
			b = appendAttr(appendText(nil, unix.NFTA_EXPR_NAME, "masq"), unix.NLA_F_NESTED|unix.NFTA_EXPR_DATA, b)
		}
		if err != nil {
			return err
		}
		list = appendAttr(list, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, b)
	}
	b := appendAttr(e.begin(128+len(list), unix.NFTA_RULE_CHAIN, chain), unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, list)
	if r.Comment != "" {
		b = appendComment(b, unix.NFTA_RULE_USERDATA, r.Comment)
	}
	e.end(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, b)
	return nil
}
