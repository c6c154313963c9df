package nft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// encodeRule returns what the kernel evaluates for a rule. Like nft, it matches the family of
// a packet, which nfproto puts before other expressions, once.
func encodeRule(in firewall.Family, r firewall.Rule) (out []expr.Any, err error) {
	known := byte(unix.NFPROTO_UNSPEC)
	for _, x := range r.Exprs {
		exprs, err := encodeExpr(in, x)
		if err != nil {
			return nil, err
		}
		if len(exprs) > 1 {
			if m, ok := exprs[0].(*expr.Meta); ok && m.Key == expr.MetaKeyNFPROTO {
				family := exprs[1].(*expr.Cmp).Data[0]
				if family == known {
					exprs = exprs[2:]
				}
				known = cmp.Or(known, family)
			}
		}
		out = append(out, exprs...)
	}
	return out, nil
}

// encodeExpr returns what the kernel evaluates for one expression of a rule in a
// table of the family.
func encodeExpr(in firewall.Family, x firewall.Expr) ([]expr.Any, error) {
	switch x := x.(type) {
	case firewall.InSet:
		return append(load(in, x.Fields), &expr.Lookup{SourceRegister: 1, SetName: x.Set, Invert: x.Not}), nil
	case firewall.ByMap:
		return append(load(in, x.Fields), &expr.Lookup{SourceRegister: 1, SetName: x.Map, IsDestRegSet: true}), nil
	case firewall.InPrefix:
		return inPrefix(in, x), nil
	case firewall.Is:
		b := binary.BigEndian.AppendUint16(nil, x.Number)
		return append(load(in, []firewall.Field{x.Field}), equal(b[2-min(fields[x.Field].len, 2):]...)), nil
	case firewall.Simple:
		exprs, ok := simple[x]
		if !ok {
			return nil, fmt.Errorf("%q is unknown", x)
		}
		return exprs, nil
	case firewall.EtherPrefix:
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: ethernet, Offset: 6, Len: uint32(len(x))},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte(x)},
		}, nil
	case firewall.L4Proto:
		return l4proto(byte(x)), nil
	case firewall.CTState:
		return ctBits(expr.CtKeySTATE, uint32(x)), nil
	case firewall.SNAT:
		return snat(x), nil
	case firewall.DNAT:
		return dnat(x), nil
	case firewall.AddTo:
		// A meter if it has a rate; otherwise it extends the life of elements.
		d := &expr.Dynset{SrcRegKey: 1, SetName: x.Set, Operation: dynsetUpdate, Timeout: x.Timeout}
		if x.Over != (firewall.Rate{}) {
			d.Exprs = []expr.Any{limit(x.Over, true)}
		}
		return append(load(in, x.Fields), d), nil
	case firewall.Rate:
		return []expr.Any{limit(x, false)}, nil
	case firewall.Log:
		return []expr.Any{&expr.Log{Key: 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_LEVEL, Level: expr.LogLevelWarning, Data: []byte(x)}}, nil
	case firewall.SetMark:
		return []expr.Any{
			&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint32(nil, uint32(x))},
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
		}, nil
	case firewall.Verdict:
		return []expr.Any{&expr.Verdict{Kind: verdicts[x.Kind], Chain: x.Chain}}, nil
	}
	return nil, fmt.Errorf("%T is unknown", x)
}

// field says how something is loaded: from the packet's meta data, or from a
// header, where the packet must first be known to be of that family and protocol.
type field struct {
	meta        expr.MetaKey
	base        expr.PayloadBase
	offset, len uint32
	family      byte
	protocol    byte
}

const (
	ethernet  = expr.PayloadBaseLLHeader
	network   = expr.PayloadBaseNetworkHeader
	transport = expr.PayloadBaseTransportHeader
)

var fields = map[firewall.Field]field{
	firewall.IIFName:    {meta: expr.MetaKeyIIFNAME, len: unix.IFNAMSIZ},
	firewall.OIFName:    {meta: expr.MetaKeyOIFNAME, len: unix.IFNAMSIZ},
	firewall.IPSAddr:    {base: network, offset: 12, len: 4, family: unix.NFPROTO_IPV4},
	firewall.IPDAddr:    {base: network, offset: 16, len: 4, family: unix.NFPROTO_IPV4},
	firewall.IP6SAddr:   {base: network, offset: 8, len: 16, family: unix.NFPROTO_IPV6},
	firewall.IP6DAddr:   {base: network, offset: 24, len: 16, family: unix.NFPROTO_IPV6},
	firewall.L4Protocol: {meta: expr.MetaKeyL4PROTO, len: 1},
	firewall.DPort:      {base: transport, offset: 2, len: 2},
	firewall.UDPDPort:   {base: transport, offset: 2, len: 2, protocol: unix.IPPROTO_UDP},
	firewall.ICMPKind:   {base: transport, len: 1, family: unix.NFPROTO_IPV4, protocol: unix.IPPROTO_ICMP},
	firewall.ICMPv6Kind: {base: transport, len: 1, family: unix.NFPROTO_IPV6, protocol: unix.IPPROTO_ICMPV6},
	firewall.UDPSPort:   {base: transport, len: 2, protocol: unix.IPPROTO_UDP},
	firewall.EtherSAddr: {base: ethernet, offset: 6, len: 6},
	firewall.EtherDAddr: {base: ethernet, len: 6},
	firewall.ARPSHA:     {base: network, offset: 8, len: 6, family: unix.NFPROTO_ARP},
	firewall.ARPSPA:     {base: network, offset: 14, len: 4, family: unix.NFPROTO_ARP},
	firewall.NDTarget:   {base: transport, offset: 8, len: 16},
	firewall.SPort:      {base: transport, len: 2},
	firewall.TCPSPort:   {base: transport, len: 2, protocol: unix.IPPROTO_TCP},
	firewall.TCPDPort:   {base: transport, offset: 2, len: 2, protocol: unix.IPPROTO_TCP},
	firewall.SCTPSPort:  {base: transport, len: 2, protocol: unix.IPPROTO_SCTP},
	firewall.SCTPDPort:  {base: transport, offset: 2, len: 2, protocol: unix.IPPROTO_SCTP},
	firewall.ARPTPA:     {base: network, offset: 24, len: 4, family: unix.NFPROTO_ARP},
	firewall.Mark:       {meta: expr.MetaKeyMARK, len: 4},
}

// etherTypes are those of frames that carry packets of a family.
var etherTypes = map[byte]uint16{unix.NFPROTO_IPV4: unix.ETH_P_IP, unix.NFPROTO_IPV6: unix.ETH_P_IPV6, unix.NFPROTO_ARP: unix.ETH_P_ARP}

// needed matches packets that have the field. To a bridge table, every frame is of
// family bridge.
func (f field) needed(in firewall.Family) []expr.Any {
	var out []expr.Any
	switch {
	case f.family != 0 && in == firewall.Bridge:
		out = etherType(etherTypes[f.family])
	case f.family != 0:
		out = nfproto(f.family)
	}
	if f.protocol != 0 {
		out = append(out, l4proto(f.protocol)...)
	}
	return out
}

func (f field) load(register uint32) expr.Any {
	if f.meta != 0 {
		return &expr.Meta{Key: f.meta, Register: register}
	}
	return &expr.Payload{DestRegister: register, Base: f.base, Offset: f.offset, Len: f.len}
}

// load puts the fields side by side into the registers from 1 on, each at the
// next multiple of four bytes, as the key of a concatenation lies in a set.
func load(in firewall.Family, fs []firewall.Field) []expr.Any {
	var need field
	for _, f := range fs {
		need.family, need.protocol = cmp.Or(need.family, fields[f].family), cmp.Or(need.protocol, fields[f].protocol)
	}
	out := need.needed(in)
	slot := uint32(0)
	for _, f := range fs {
		out = append(out, fields[f].load(register(slot)))
		slot += (fields[f].len + 3) / 4
	}
	return out
}

// register returns the number of the register that begins at a slot of four
// bytes, as the kernel itself writes it: the first of each sixteen bytes has an
// old number, 1 to 4, the others have new ones, from 8 on.
func register(slot uint32) uint32 {
	if slot%4 == 0 {
		return unix.NFT_REG_1 + slot/4
	}
	return unix.NFT_REG32_00 + slot
}

func equal(data ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

func nfproto(family byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal(family)}
}

// etherType is that behind a VLAN's tag, if the frame has one.
func etherType(t uint16) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, equal(binary.BigEndian.AppendUint16(nil, t)...)}
}

func l4proto(proto byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal(proto)}
}

func mask(m []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(m)), Mask: m, Xor: make([]byte, len(m))}
}

// inPrefix loads whole bytes only as many as the prefix has.
func inPrefix(in firewall.Family, x firewall.InPrefix) []expr.Any {
	f, first, bits := fields[x.Field], x.Prefix.Masked().Addr().AsSlice(), x.Prefix.Bits()
	if bits%8 == 0 {
		f.len = uint32(bits / 8)
		return append(f.needed(in), f.load(1), equal(first[:f.len]...))
	}
	m := make([]byte, len(first))
	for bit := range bits {
		m[bit/8] |= 0x80 >> (bit % 8)
	}
	return append(f.needed(in), f.load(1), mask(m), equal(first...))
}

// simple has what the kernel evaluates for expressions without operands.
var simple = map[firewall.Simple][]expr.Any{
	firewall.Counter:      {&expr.Counter{}},
	firewall.IPv4:         nfproto(unix.NFPROTO_IPV4),
	firewall.EtherIPv4:    etherType(unix.ETH_P_IP),
	firewall.EtherARP:     etherType(unix.ETH_P_ARP),
	firewall.EtherIPv6:    etherType(unix.ETH_P_IPV6),
	firewall.Tag8021Q:     tagged(unix.ETH_P_8021Q),
	firewall.Tag8021AD:    tagged(unix.ETH_P_8021AD),
	firewall.TagQinQ:      tagged(unix.ETH_P_QINQ1),
	firewall.TCPSyn:       tcpFlags(0x17, 0x02), // SYN among FIN, SYN, RST, ACK
	firewall.TCPHandshake: tcpFlags(0x06, 0x02), // SYN among SYN, RST
	// The MTU of the packet's route, less headers, goes into the option (kind 2, offset 2, RFC
	// 9293 section 3.7.1); the kernel only lowers it (nft_exthdr_tcp_set_eval).
	firewall.ClampMSS: {
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: 1, Op: expr.ExthdrOpTcpopt, Type: 2, Offset: 2, Len: 2},
	},
	firewall.ToLocal: {
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		equal(binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)...),
	},
	firewall.DNATed:           ctBits(expr.CtKeySTATUS, 1<<5), // IPS_DST_NAT
	firewall.RejectTCPReset:   {&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}},
	firewall.RejectProhibited: {&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}},
	firewall.Fragment4: append(etherType(unix.ETH_P_IP), // the offset without the flags
		&expr.Payload{DestRegister: 1, Base: network, Offset: 6, Len: 2}, mask([]byte{0x1f, 0xff}),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 2)}),
	firewall.Fragment6:     fragmentOffset(expr.CmpOpNeq),
	firewall.FirstFragment: fragmentOffset(expr.CmpOpEq),
	// A load of what is not in the packet ends the rule (nft_payload_eval).
	firewall.UpperHeader: {
		&expr.Payload{DestRegister: 1, Base: transport, Offset: 3, Len: 1},
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{0}},
	},
}

func tagged(t uint16) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: ethernet, Offset: 12, Len: 2}, equal(binary.BigEndian.AppendUint16(nil, t)...)}
}

func tcpFlags(among, are byte) []expr.Any {
	return append(l4proto(unix.IPPROTO_TCP),
		&expr.Payload{DestRegister: 1, Base: transport, Offset: 13, Len: 1}, mask([]byte{among}), equal(are))
}

const dynsetUpdate = 1 // NFT_DYNSET_OP_UPDATE

func limit(r firewall.Rate, over bool) *expr.Limit {
	return &expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(r.PerSecond), Burst: r.Burst, Unit: expr.LimitTimeSecond, Over: over}
}

// fragmentOffset compares the offset in an IPv6 fragment header with 0.
func fragmentOffset(op expr.CmpOp) []expr.Any {
	return append(etherType(unix.ETH_P_IPV6),
		&expr.Exthdr{DestRegister: 1, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6}, mask([]byte{0xff, 0xf8}),
		&expr.Cmp{Op: op, Register: 1, Data: make([]byte, 2)})
}

// ctBits matches if one of the bits is set.
func ctBits(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		mask(binary.NativeEndian.AppendUint32(nil, bits)),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// snat loads addresses and ports into the registers from 1 on. The end of a range
// of one is its start.
func snat(x firewall.SNAT) []expr.Any {
	var out []expr.Any
	load := func(first, last []byte) (low, high uint32) {
		low = uint32(len(out) + unix.NFT_REG_1)
		out = append(out, &expr.Immediate{Register: low, Data: first})
		if high = low; !bytes.Equal(first, last) {
			high++
			out = append(out, &expr.Immediate{Register: high, Data: last})
		}
		return low, high
	}
	ports := !x.Ports.IsZero()
	start, end := binary.BigEndian.AppendUint16(nil, x.Ports.Start), binary.BigEndian.AppendUint16(nil, x.Ports.End)
	if !x.Addresses.Start.IsValid() {
		m := &expr.Masq{ToPorts: ports}
		if ports {
			m.RegProtoMin, m.RegProtoMax = load(start, end)
		}
		return append(out, m)
	}
	n := &expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, Specified: ports, Persistent: x.Addresses.End != x.Addresses.Start}
	if x.Addresses.Start.Is6() {
		n.Family = unix.NFPROTO_IPV6
	}
	n.RegAddrMin, n.RegAddrMax = load(x.Addresses.Start.AsSlice(), x.Addresses.End.AsSlice())
	if ports {
		n.RegProtoMin, n.RegProtoMax = load(start, end)
	}
	return append(out, n)
}

// dnat has the map write address and port into the registers from 1 on, side by
// side as they lie in its elements. Packets of the other family it leaves alone
// (net/netfilter/nft_nat.c: nft_nat_inet_eval).
func dnat(x firewall.DNAT) []expr.Any {
	family, port := uint32(unix.NFPROTO_IPV4), register(1)
	if x.IPv6 {
		family, port = unix.NFPROTO_IPV6, register(4)
	}
	return append(load(firewall.INet, x.Fields),
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: x.Map},
		&expr.NAT{
			Type: expr.NATTypeDestNAT, Family: family, Specified: true,
			RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: port, RegProtoMax: port,
		})
}

// verdicts has expr.VerdictDrop, which is 0, for what is not in it.
var verdicts = map[firewall.VerdictKind]expr.VerdictKind{
	firewall.Accept: expr.VerdictAccept,
	firewall.Drop:   expr.VerdictDrop,
	firewall.Jump:   expr.VerdictJump,
	firewall.Goto:   expr.VerdictGoto,
	firewall.Return: expr.VerdictReturn,
}
