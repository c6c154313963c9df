package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// chunk is how many elements go into one message. Their attribute has a length
// of 16 bits, and google/nftables v0.3.0 loses silently what exceeds it; the
// largest element that the kernel takes, with comment, is about 250 bytes.
const chunk = 250

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
	for _, c := range edit.AddChains {
		e.addChain(c)
	}
	for _, c := range edit.AddChains {
		e.addRules(c)
	}
	for _, s := range edit.DelElements {
		e.elements(s, e.conn.SetDeleteElements)
	}
	for _, s := range edit.AddElements {
		e.elements(s, e.conn.SetAddElements)
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

func (e *encoder) elements(s firewall.Set, do func(*nftables.Set, []nftables.SetElement) error) {
	set, elements := e.set(s), encodeElements(s)
	for len(elements) > 0 {
		n := min(chunk, len(elements))
		e.keep(do(set, elements[:n]))
		elements = elements[n:]
	}
}

func encodeElements(s firewall.Set) []nftables.SetElement {
	out := make([]nftables.SetElement, 0, len(s.Elements))
	for _, el := range s.Elements {
		first, last := keyBounds(s, el)
		ne := nftables.SetElement{Key: first, Comment: el.Comment}
		if s.Verdicts {
			ne.VerdictData = verdict(el.Verdict)
		}
		if s.To != 0 {
			ne.Val = padded(binary.BigEndian.AppendUint16(el.To.Addr().AsSlice(), el.To.Port()))
		}
		if s.Interval && len(s.Key) > 1 {
			ne.KeyEnd = last
		}
		out = append(out, ne)
		if s.Interval && len(s.Key) == 1 {
			// A single field's interval has an element of its own for its end,
			// the first value that is outside, and none if there is no such.
			if next, ok := successor(last); ok {
				out = append(out, nftables.SetElement{Key: next, IntervalEnd: true})
			}
		}
	}
	return out
}

// successor adds one to a big-endian number, which must not be the last.
func successor(b []byte) (next []byte, ok bool) {
	next = bytes.Clone(b)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next, true
		}
	}
	return nil, false
}

// keyBounds returns the first and last key that an element stands for. In a key of
// several fields, each begins at a multiple of four bytes.
func keyBounds(s firewall.Set, e firewall.Element) (first, last []byte) {
	for i, t := range s.Key {
		f, l := bounds(t, e.Key[i])
		if len(s.Key) > 1 {
			f, l = padded(f), padded(l)
		}
		first, last = append(first, f...), append(last, l...)
	}
	return first, last
}

func padded(b []byte) []byte { return append(b, make([]byte, align(len(b))-len(b))...) }

func bounds(t firewall.Type, v firewall.Value) (first, last []byte) {
	switch t {
	case firewall.IfName:
		b := make([]byte, unix.IFNAMSIZ)
		copy(b, v.Name)
		return b, b
	case firewall.IPv4Addr, firewall.IPv6Addr, firewall.NDTargetAddr:
		return prefixBounds(v.Prefix)
	case firewall.EtherAddr:
		return v.MAC[:], v.MAC[:]
	case firewall.MarkValue:
		b := binary.NativeEndian.AppendUint32(nil, uint32(v.Numbers.Start))
		return b, b
	case firewall.InetService:
		return binary.BigEndian.AppendUint16(nil, v.Numbers.Start), binary.BigEndian.AppendUint16(nil, v.Numbers.End)
	}
	return []byte{byte(v.Numbers.Start)}, []byte{byte(v.Numbers.End)}
}

func prefixBounds(p netip.Prefix) (first, last []byte) {
	first = p.Masked().Addr().AsSlice()
	last = bytes.Clone(first)
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return first, last
}

// hook is where in the kernel a base chain sits.
type hook struct {
	typ      nftables.ChainType
	num      *nftables.ChainHook
	priority *nftables.ChainPriority
}

// bridgeFilter is NF_BR_PRI_FILTER_BRIDGED, which nft calls "filter" in bridge
// tables.
const bridgeFilter nftables.ChainPriority = -200

var hooks = map[firewall.Base]hook{
	firewall.ForwardFilter:     {nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter},
	firewall.InputFilter:       {nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter},
	firewall.PostroutingNAT:    {nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource},
	firewall.PreroutingNAT:     {nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest},
	firewall.OutputNAT:         {nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest},
	firewall.HairpinNAT:        {nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource - 1)},
	firewall.PreroutingFilter:  {nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityMangle},
	firewall.BridgePrerouting:  {nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRef(bridgeFilter)},
	firewall.BridgeRules:       {nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRef(bridgeFilter + 1)},
	firewall.BridgePostrouting: {nftables.ChainTypeFilter, nftables.ChainHookPostrouting, nftables.ChainPriorityRef(bridgeFilter)},
	firewall.BridgeForward:     {nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityRef(bridgeFilter)},
	firewall.BridgeInput:       {nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityRef(bridgeFilter)},
}

func (e *encoder) addChain(c firewall.Chain) {
	policy := nftables.ChainPolicyAccept
	out := &nftables.Chain{Table: e.table, Name: c.Name}
	if h, ok := hooks[c.Base]; ok {
		out.Type, out.Policy, out.Hooknum, out.Priority = h.typ, &policy, h.num, h.priority
	}
	e.conn.AddChain(out)
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
