package nft

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// nftType returns the type of a message to nf_tables.
func nftType(msg int) uint16 { return uint16(unix.NFNL_SUBSYS_NFTABLES<<8 | msg) }

func family(f firewall.Family) nftables.TableFamily {
	if f == firewall.Bridge {
		return nftables.TableFamilyBridge
	}
	return nftables.TableFamilyINet
}

// header is how every message to nf_tables begins.
func header(f firewall.Family) []byte { return []byte{byte(family(f)), unix.NFNETLINK_V0, 0, 0} }

// newTable makes a table, or takes over an orphan, with the flags.
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

// encoder collects the messages that google/nftables would send.
type encoder struct {
	conn   *nftables.Conn
	table  *nftables.Table
	family firewall.Family
	setID  uint32
	out    []message
	err    error
}

func newEncoder(t firewall.Table) *encoder {
	e := &encoder{table: &nftables.Table{Name: t.Name, Family: family(t.Family)}, family: t.Family}
	// New fails only for a lasting connection.
	e.conn, _ = nftables.New(nftables.WithTestDial(e.capture))
	return e
}

// capture stands for the library's socket. What it asks for, an answer to every
// message and an echo of every rule, can overflow a socket after the transaction
// was committed.
func (e *encoder) capture(batch []netlink.Message) ([]netlink.Message, error) {
	for _, m := range batch {
		switch m.Header.Type {
		case unix.NFNL_MSG_BATCH_BEGIN, unix.NFNL_MSG_BATCH_END:
			continue
		}
		flags := uint16(m.Header.Flags &^ (netlink.Acknowledge | netlink.Echo))
		e.out = append(e.out, message{typ: uint16(m.Header.Type), flags: flags, data: m.Data})
	}
	return nil, io.EOF // which means: no answers
}

// flush takes what the library has gathered.
func (e *encoder) flush() { e.keep(e.conn.Flush()) }

func (e *encoder) header() []byte { return []byte{byte(e.table.Family), unix.NFNETLINK_V0, 0, 0} }

func (e *encoder) keep(err error) {
	if e.err == nil {
		e.err = err
	}
}

// hookNumbers are the same in the families inet and bridge.
var hookNumbers = map[string]*nftables.ChainHook{
	"prerouting": nftables.ChainHookPrerouting, "input": nftables.ChainHookInput, "forward": nftables.ChainHookForward,
	"output": nftables.ChainHookOutput, "postrouting": nftables.ChainHookPostrouting,
}

// encodeTable returns the messages that fill a new table.
func encodeTable(t firewall.Table) ([]message, error) {
	return encodeEdit(firewall.Edit{Table: t, AddSets: t.Sets, AddChains: t.Chains, AddElements: t.Sets})
}

// encodeEdit returns the messages of an edit, in an order in which nothing refers
// to what is not there.
func encodeEdit(edit firewall.Edit) ([]message, error) {
	e := newEncoder(edit.Table)
	for _, s := range edit.AddSets {
		e.addSet(s)
	}
	policy := nftables.ChainPolicyAccept
	for _, c := range edit.AddChains {
		out := &nftables.Chain{Table: e.table, Name: c.Name}
		if h, ok := c.Base.Hook(); ok {
			num, priority := hookNumbers[h.Hook], nftables.ChainPriority(h.Priority)
			out.Type, out.Policy, out.Hooknum, out.Priority = nftables.ChainType(h.Type), &policy, num, &priority
		}
		e.conn.AddChain(out)
	}
	for _, c := range edit.AddChains {
		e.addRules(c)
	}
	for i := range edit.DelElements {
		e.elements(&edit.DelElements[i], unix.NFT_MSG_DELSETELEM)
	}
	for i := range edit.AddElements {
		e.elements(&edit.AddElements[i], unix.NFT_MSG_NEWSETELEM)
	}
	for _, c := range edit.DelChains {
		e.conn.FlushChain(&nftables.Chain{Table: e.table, Name: c.Name})
	}
	for _, c := range edit.DelChains {
		e.conn.DelChain(&nftables.Chain{Table: e.table, Name: c.Name})
	}
	for _, s := range edit.DelSets {
		e.conn.DelSet(&nftables.Set{Table: e.table, Name: s.Name})
	}
	e.flush()
	return e.out, e.err
}

var keyTypes = map[firewall.Type]nftables.SetDatatype{
	firewall.IfName:   nftables.TypeIFName,
	firewall.IPv4Addr: nftables.TypeIPAddr,
	firewall.IPv6Addr: nftables.TypeIP6Addr,

	firewall.InetProto:   nftables.TypeInetProto,
	firewall.InetService: nftables.TypeInetService,
	firewall.ICMPv6Type:  nftables.TypeICMP6Type,
	firewall.EtherAddr:   nftables.TypeEtherAddr,
	firewall.ICMPType:    nftables.TypeICMPType,
	firewall.MarkValue:   nftables.TypeMark,

	firewall.NDTargetAddr: target(),
}

// target is an integer, as long as an address.
func target() nftables.SetDatatype {
	t := nftables.TypeInteger
	t.Bytes = 16
	return t
}

func (e *encoder) set(s firewall.Set) *nftables.Set {
	types := make([]nftables.SetDatatype, len(s.Key))
	for i, t := range s.Key {
		types[i] = keyTypes[t]
	}
	key, err := nftables.ConcatSetType(types...)
	e.keep(err)
	if len(types) == 1 { // which the library would pad as a field of several
		key = types[0]
	}
	out := &nftables.Set{
		Table: e.table, Name: s.Name, KeyType: key,
		Interval: s.Interval, Counter: s.Counter,
		// The kernel must know the fields of a key to find intervals in each.
		Concatenation: s.Interval && len(s.Key) > 1,
		KeyByteOrder:  binaryutil.BigEndian,
	}
	if s.Typeof() {
		out.KeyByteOrder = nil // it is in what typeof says
	}
	if s.Key[0] == firewall.MarkValue {
		out.KeyByteOrder = binaryutil.NativeEndian
	}
	if d := s.Dynamic; d.Size > 0 {
		out.Dynamic, out.HasTimeout, out.Timeout, out.Size = true, true, d.Timeout, uint32(d.Size)
	}
	if s.Key[0] == firewall.IfName && len(s.Key) == 1 {
		out.KeyByteOrder = binaryutil.NativeEndian // or nft lists every name as ""
	}
	if s.Verdicts {
		out.IsMap, out.DataType = true, nftables.TypeVerdict
	}
	if s.To != 0 {
		out.IsMap = true
		out.DataType, err = nftables.ConcatSetType(keyTypes[s.To], nftables.TypeInetService)
		e.keep(err)
	}
	return out
}

func (e *encoder) addSet(s firewall.Set) {
	set := e.set(s)
	// The library would take it from a counter that all Conns share unlocked.
	e.setID++
	set.ID = e.setID
	e.keep(e.conn.AddSet(set, nil))
	if s.Typeof() {
		e.flush()
		m := &e.out[len(e.out)-1]
		m.data = appendAttr(m.data, unix.NFTA_SET_USERDATA, typeof(s))
	}
}

// typeof describes the key of a set by expressions, as nft does in the set's user data
// (libnftnl's udata.h, and expr_build_udata of nft): without it, nft lists a key that it
// does not read again. The kernel has no use for it.
func typeof(s firewall.Set) []byte {
	const (
		meta, payload, concat       = 9, 7, 13 // nft's numbers of expressions
		expression, data            = 0, 1     // attributes of a description
		description, field          = 0, 1     // attributes of a payload that nft has names for
		base, offset, length        = 2, 3, 4  // and of one that it has not
		transportHeader, targetBits = 3, 8 * 16
	)
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
		key, order = describe(concat, list), 0
	}
	return userdata.Append(number(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, order), userdata.NFTNL_UDATA_SET_KEY_TYPEOF, key)
}

// elements writes messages about a set's elements, each at most as long as its
// attributes can be.
func (e *encoder) elements(s *firewall.Set, typ int) {
	e.flush()
	for left := s.Elements; len(left) > 0; {
		b := append(make([]byte, 0, min(128*(1+len(left)), math.MaxUint16)), e.header()...)
		b = appendText(b, unix.NFTA_SET_ELEM_LIST_TABLE, e.table.Name)
		b = appendText(b, unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		b = appendFilled(b, unix.NLA_F_NESTED|unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(b []byte) []byte {
			for len(left) > 0 && len(b) < math.MaxUint16-maxElement {
				b, left = appendElement(b, s, &left[0]), left[1:]
			}
			return b
		})
		flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_CREATE)
		e.out = append(e.out, message{typ: nftType(typ), flags: flags, data: b})
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
			b = value(b, unix.NFTA_SET_ELEM_DATA, padded(binary.BigEndian.AppendUint16(el.To.Addr().AsSlice(), el.To.Port())))
		}
		if el.Comment != "" {
			b = appendComment(b, unix.NFTA_SET_ELEM_USERDATA, el.Comment)
		}
		return b
	})
	if s.Interval && len(s.Key) == 1 && increment(last[:n]) {
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

// increment adds one to a big-endian number and reports whether there is room for it.
func increment(b []byte) bool {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return true
		}
	}
	return false
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

func padded(b []byte) []byte { return append(b, make([]byte, align(len(b))-len(b))...) }

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

// addRules writes the messages itself: see marshal.
func (e *encoder) addRules(c firewall.Chain) {
	e.flush()
	for _, r := range c.Rules {
		data, err := e.rule(c.Name, r)
		if err != nil {
			e.keep(fmt.Errorf("encode rule %q of chain %s: %w", r, c.Name, err))
		}
		flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_CREATE | unix.NLM_F_APPEND)
		e.out = append(e.out, message{typ: nftType(unix.NFT_MSG_NEWRULE), flags: flags, data: data})
	}
}

func (e *encoder) rule(chain string, r firewall.Rule) ([]byte, error) {
	exprs, err := encodeRule(e.family, r)
	if err != nil {
		return nil, err
	}
	var list []byte
	for _, x := range exprs {
		b, err := marshal(byte(e.table.Family), x)
		if err != nil {
			return nil, err
		}
		list = appendAttr(list, unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, b)
	}
	b := appendText(e.header(), unix.NFTA_RULE_TABLE, e.table.Name)
	b = appendText(b, unix.NFTA_RULE_CHAIN, chain)
	b = appendAttr(b, unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, list)
	if r.Comment != "" {
		b = appendAttr(b, unix.NFTA_RULE_USERDATA, userdata.AppendString(nil, userdata.TypeComment, r.Comment))
	}
	return b, nil
}

// marshal is expr.Marshal, but for a masquerade with ports: google/nftables
// v0.3.0 leaves out the flag without which the kernel ignores them. "nft list"
// shows the ports all the same.
func marshal(family byte, x expr.Any) ([]byte, error) {
	if m, ok := x.(*expr.Masq); !ok || !m.ToPorts {
		return expr.Marshal(family, x)
	}
	data, err := expr.MarshalExprData(family, x)
	data = appendNumber(data, unix.NFTA_MASQ_FLAGS, unix.NF_NAT_RANGE_PROTO_SPECIFIED)
	return appendAttr(appendText(nil, unix.NFTA_EXPR_NAME, "masq"), unix.NLA_F_NESTED|unix.NFTA_EXPR_DATA, data), err
}
