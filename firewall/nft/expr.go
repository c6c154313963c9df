package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// tcpFlagsOffset is where a TCP header has its flags.
const tcpFlagsOffset = 13

// encodeExpr returns what the kernel evaluates for one expression of a rule.
func encodeExpr(x firewall.Expr) ([]expr.Any, error) {
	switch x := x.(type) {
	case firewall.InSet:
		return append(load(x.Fields), &expr.Lookup{SourceRegister: 1, SetName: x.Set, Invert: x.Not}), nil
	case firewall.ByMap:
		return append(load(x.Fields), &expr.Lookup{SourceRegister: 1, SetName: x.Map, IsDestRegSet: true}), nil
	case firewall.InPrefix:
		return inPrefix(x), nil
	case firewall.IPv4:
		return nfproto(unix.NFPROTO_IPV4), nil
	case firewall.L4Proto:
		return l4proto(byte(x)), nil
	case firewall.TCPSyn:
		return tcpSyn(), nil
	case firewall.CTState:
		return ctState(x), nil
	case firewall.Counter:
		return []expr.Any{&expr.Counter{}}, nil
	case firewall.Masquerade:
		return masquerade(x), nil
	case firewall.Reject:
		return []expr.Any{reject(x)}, nil
	case firewall.Verdict:
		return []expr.Any{verdict(x)}, nil
	}
	return nil, fmt.Errorf("%T is unknown", x)
}

// fields says how each field is loaded: from the packet's meta data, or from its
// network header, where the packet must first be known to be of that family.
var fields = map[firewall.Field]struct {
	meta        expr.MetaKey
	family      byte
	offset, len uint32
}{
	firewall.IIFName:  {meta: expr.MetaKeyIIFNAME, len: unix.IFNAMSIZ},
	firewall.OIFName:  {meta: expr.MetaKeyOIFNAME, len: unix.IFNAMSIZ},
	firewall.IPSAddr:  {family: unix.NFPROTO_IPV4, offset: 12, len: 4},
	firewall.IPDAddr:  {family: unix.NFPROTO_IPV4, offset: 16, len: 4},
	firewall.IP6SAddr: {family: unix.NFPROTO_IPV6, offset: 8, len: 16},
	firewall.IP6DAddr: {family: unix.NFPROTO_IPV6, offset: 24, len: 16},
}

// load puts the fields side by side into the registers from 1 on, each at the
// next multiple of four bytes, as the key of a concatenation lies in a set.
func load(fs []firewall.Field) []expr.Any {
	var out []expr.Any
	for _, f := range fs {
		if fam := fields[f].family; fam != 0 {
			out = nfproto(fam)
			break
		}
	}
	slot := uint32(0)
	for _, f := range fs {
		d := fields[f]
		if d.family == 0 {
			out = append(out, &expr.Meta{Key: d.meta, Register: register(slot)})
		} else {
			out = append(out, &expr.Payload{
				DestRegister: register(slot),
				Base:         expr.PayloadBaseNetworkHeader, Offset: d.offset, Len: d.len,
			})
		}
		slot += (d.len + 3) / 4
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

func l4proto(proto byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal(proto)}
}

func mask(m []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(m)), Mask: m, Xor: make([]byte, len(m))}
}

func inPrefix(x firewall.InPrefix) []expr.Any {
	out, first := load([]firewall.Field{x.Field}), x.Prefix.Masked().Addr().AsSlice()
	if !x.Prefix.IsSingleIP() {
		m := make([]byte, len(first))
		for bit := range x.Prefix.Bits() {
			m[bit/8] |= 0x80 >> (bit % 8)
		}
		out = append(out, mask(m))
	}
	return append(out, equal(first...))
}

func tcpSyn() []expr.Any {
	const fin, syn, rst, ack = 0x01, 0x02, 0x04, 0x10
	return append(l4proto(unix.IPPROTO_TCP),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlagsOffset, Len: 1},
		mask([]byte{fin | syn | rst | ack}), equal(syn))
}

func ctState(s firewall.CTState) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		mask(binary.NativeEndian.AppendUint32(nil, uint32(s))),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func masquerade(x firewall.Masquerade) []expr.Any {
	if x.Ports.IsZero() {
		return []expr.Any{&expr.Masq{}}
	}
	port := func(reg uint32, p uint16) expr.Any {
		return &expr.Immediate{Register: reg, Data: binary.BigEndian.AppendUint16(nil, p)}
	}
	if x.Ports.Start == x.Ports.End {
		return []expr.Any{port(1, x.Ports.Start), &expr.Masq{ToPorts: true, RegProtoMin: 1, RegProtoMax: 1}}
	}
	return []expr.Any{
		port(1, x.Ports.Start), port(2, x.Ports.End),
		&expr.Masq{ToPorts: true, RegProtoMin: 1, RegProtoMax: 2},
	}
}

func reject(x firewall.Reject) *expr.Reject {
	if x.TCPReset {
		return &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	}
	return &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}
}

var verdicts = map[firewall.VerdictKind]expr.VerdictKind{
	firewall.Accept: expr.VerdictAccept,
	firewall.Drop:   expr.VerdictDrop,
	firewall.Jump:   expr.VerdictJump,
	firewall.Goto:   expr.VerdictGoto,
	firewall.Return: expr.VerdictReturn,
}

func verdict(v firewall.Verdict) *expr.Verdict {
	kind, ok := verdicts[v.Kind]
	if !ok {
		kind = expr.VerdictDrop
	}
	return &expr.Verdict{Kind: kind, Chain: v.Chain}
}
