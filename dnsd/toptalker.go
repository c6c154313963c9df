package dnsd

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	nl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/internal/limit"
	"github.com/vnetd/vnetd/internal/sockfilter"
)

const (
	// samplePause is the time between two samples, when the first found no top talker.
	samplePause = 100 * time.Millisecond

	// maxTalkers is the most ports that are blocked at a time.
	maxTalkers = 8

	// blockTime is how long a top talker is blocked. Detecting it again takes
	// part of that, during which it is answered.
	blockTime = 100 * time.Millisecond

	// maxBlockTime is the longest block: each one that follows at once is twice as long.
	maxBlockTime = 8 * blockTime

	// blockedRate queries a second pass a block, for a port may have several guests.
	blockedRate = 1000
)

// A talker is a port that sends so many queries that others are delayed. Guests are
// identified by ports, as they can invent MACs and addresses.
type talker struct {
	port string
	addr netip.Addr // of nearly all that the port sends; zero: of many
}

func (t talker) String() string {
	if t.addr.IsValid() {
		return t.addr.String() + " (" + t.port + ")"
	}
	return t.port
}

// blockTopTalkers samples, in the background, the queries that enter the host for these
// sockets, and has the kernel drop those of top talkers. UDP sockets do not expose the port;
// an AF_PACKET socket for all links does, and runs a filter for each frame of the host, so it
// is open for some milliseconds only, during a burst.
func (n *network) blockTopTalkers(l *udpListeners) {
	l.mu.Lock()
	link := l.from.link
	l.mu.Unlock()
	if link == 0 || !l.sampling.CompareAndSwap(false, true) {
		return
	}
	go func() {
		pause := samplePause
		defer func() { time.AfterFunc(pause, func() { l.sampling.Store(false) }) }()
		defer limit.Recover(n.log, limit.DNS, nil)
		talkers := topTalkers(sample(link, l.at))
		if len(talkers) == 0 {
			return
		}
		pause = 0
		if l.blockPorts(talkers) {
			n.log.Warn("DNS clients over the rate limit; most of their queries are dropped", "clients", talkers)
		}
	}()
}

// A frame is a sampled query: the port by which it entered the host, and the source.
type frame struct {
	port string
	addr netip.Addr
}

// topTalkers finds the ports that together send three quarters of a whole sample, each
// an eighth at least, while another port sends, too. With fewer frames there is no flood.
func topTalkers(frames []frame) (out []talker) {
	if len(frames) < window/2 {
		return nil
	}
	ports := map[string][]netip.Addr{}
	for _, f := range frames {
		ports[f.port] = append(ports[f.port], f.addr)
	}
	sent := 0
	for _, name := range slices.SortedFunc(maps.Keys(ports), func(a, b string) int { return len(ports[b]) - len(ports[a]) }) {
		n := len(ports[name])
		if sent > len(frames)/4*3 || n < len(frames)/8 || len(out) == maxTalkers {
			break
		}
		sent += n
		t, counts := talker{port: name}, map[netip.Addr]int{}
		for _, a := range ports[name] {
			if counts[a]++; counts[a] > n/4*3 {
				t.addr = a
			}
		}
		out = append(out, t)
	}
	if sent <= len(frames)/4*3 || sent == len(frames) {
		return nil
	}
	return out
}

// sample returns a window of the queries that enter the host for an address of ours by ports
// of a bridge, or fewer if fewer come within windowTime. Those by TCP count as other clients.
func sample(bridge uint32, at netip.AddrPort) (frames []frame) {
	source := 12
	if at.Addr().Is6() {
		source = 8
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil // no CAP_NET_RAW
	}
	defer unix.Close(fd)
	prog, err := queriesTo(bridge, at)
	if err != nil || sockfilter.Attach(fd, prog) != nil ||
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: windowTime.Microseconds()}) != nil ||
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL>>8&0xff | unix.ETH_P_ALL&0xff<<8}) != nil {
		return nil
	}
	var indexes []int // of ports
	var buf [40]byte  // as long as an IPv6 header
	for end := time.Now().Add(windowTime); len(frames) < window && time.Now().Before(end); {
		n, from, err := unix.Recvfrom(fd, buf[:], 0)
		if err != nil {
			break
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && n >= source+at.Addr().BitLen()/8 {
			addr, _ := netip.AddrFromSlice(buf[source:][:at.Addr().BitLen()/8])
			indexes, frames = append(indexes, ll.Ifindex), append(frames, frame{addr: addr})
		}
	}
	names := map[int]string{}
	for i := range frames { // after the sample: a look-up takes longer than a frame
		name, known := names[indexes[i]]
		if !known {
			if l, err := netlink.LinkByIndex(indexes[i]); err == nil && l.Attrs().MasterIndex == int(bridge) {
				name = l.Attrs().Name
			}
			names[indexes[i]] = name
		}
		frames[i].port = name
	}
	return slices.DeleteFunc(frames, func(f frame) bool { return f.port == "" })
}

// queriesTo accepts UDP and TCP for an address and port, in packets that begin with IP
// and enter by another link than the bridge.
func queriesTo(bridge uint32, at netip.AddrPort) ([]bpf.RawInstruction, error) {
	family, protocol, header := uint32(unix.ETH_P_IP), uint32(9), bpf.Instruction(bpf.LoadMemShift{Off: 0})
	if at.Addr().Is6() {
		family, protocol, header = unix.ETH_P_IPV6, 6, bpf.LoadConstant{Dst: bpf.RegX, Val: 40}
	}
	prog := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: family, SkipTrue: 11},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 9},
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: bridge, SkipTrue: 7},
		bpf.LoadAbsolute{Off: protocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 4},
		header,
		bpf.LoadIndirect{Off: 2, Size: 2}, // the destination port of both
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(at.Port()), SkipTrue: 1},
		bpf.Jump{Skip: 1},
		sockfilter.Drop,
	}
	dest := uint32(netHeader + 16)
	if at.Addr().Is6() {
		dest = netHeader + 24
	}
	prog = append(prog, acceptPrefix(netip.PrefixFrom(at.Addr(), at.Addr().BitLen()), dest)...)
	return bpf.Assemble(append(prog, sockfilter.Drop))
}

// blockPorts has the kernel drop queries of top talkers for a while, before their bridge
// receives them. It returns false if there is a block already.
func (l *udpListeners) blockPorts(talkers []talker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.block != nil {
		return false
	}
	block, err := openBlock(l.at, talkers, l.rate)
	if err != nil {
		return false // no CAP_NET_ADMIN, or a port that is gone; the sockets' own fairness remains
	}
	l.block = block
	if time.Since(l.ended) < blockTime {
		l.span = min(2*l.span, maxBlockTime)
	} else {
		l.span = l.least
	}
	l.timer = time.AfterFunc(l.span, l.unblock)
	return true
}

func (l *udpListeners) unblock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.block != nil {
		l.timer.Stop()
		_ = l.block.Close()
		l.block, l.ended = nil, time.Now()
	}
}

// openBlock adds a table that drops the talkers' queries to an address where they enter
// the host, except for rate a second. The connection owns the table: the kernel
// removes it when the connection is closed, or the process ends.
func openBlock(at netip.AddrPort, talkers []talker, rate uint64) (*nl.Conn, error) {
	c, err := nl.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open nf_tables: %w", err)
	}
	table := fmt.Sprintf("vnetd-dns-%08x", rand.Uint32())
	batch := []nl.Message{
		batchMarker(unix.NFNL_MSG_BATCH_BEGIN),
		nftMessage(unix.NFT_MSG_NEWTABLE, func(a *nl.AttributeEncoder) {
			a.String(unix.NFTA_TABLE_NAME, table)
			a.Uint32(unix.NFTA_TABLE_FLAGS, 2) // NFT_TABLE_F_OWNER
		}),
	}
	for i, t := range talkers {
		chain := fmt.Sprintf("port%d", i)
		batch = append(batch, nftMessage(unix.NFT_MSG_NEWCHAIN, func(a *nl.AttributeEncoder) {
			a.String(unix.NFTA_CHAIN_TABLE, table)
			a.String(unix.NFTA_CHAIN_NAME, chain)
			a.String(unix.NFTA_CHAIN_TYPE, "filter")
			a.Nested(unix.NFTA_CHAIN_HOOK, func(a *nl.AttributeEncoder) error {
				a.Uint32(unix.NFTA_HOOK_HOOKNUM, unix.NF_NETDEV_INGRESS)
				a.Int32(unix.NFTA_HOOK_PRIORITY, -500)
				a.String(unix.NFTA_HOOK_DEV, t.port)
				return nil
			})
		}), nftMessage(unix.NFT_MSG_NEWRULE, func(a *nl.AttributeEncoder) {
			a.String(unix.NFTA_RULE_TABLE, table)
			a.String(unix.NFTA_RULE_CHAIN, chain)
			a.Nested(unix.NFTA_RULE_EXPRESSIONS, func(a *nl.AttributeEncoder) error {
				for _, e := range dropQueries(at, t.addr, rate) {
					data, err := expr.Marshal(unix.NFPROTO_NETDEV, e)
					if err != nil {
						return err
					}
					a.Bytes(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, data)
				}
				return nil
			})
		}))
	}
	_, err = c.SendMessages(append(batch, batchMarker(unix.NFNL_MSG_BATCH_END)))
	if err == nil {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, err = c.Receive() // the acknowledgement of the last message, or the first error
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("block ports: %w", err)
	}
	return c, nil
}

func batchMarker(typ uint16) nl.Message {
	return nl.Message{Header: nl.Header{Type: nl.HeaderType(typ), Flags: nl.Request}, Data: []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES}}
}

func nftMessage(typ uint16, attrs func(*nl.AttributeEncoder)) nl.Message {
	a := nl.NewAttributeEncoder()
	a.ByteOrder = binary.BigEndian
	attrs(a)
	data, _ := a.Encode() // fails only for attributes of 64 KiB
	flags := nl.Request | nl.Create
	if typ == unix.NFT_MSG_NEWRULE {
		flags |= nl.Append | nl.Acknowledge
	}
	return nl.Message{
		Header: nl.Header{Type: nl.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ), Flags: flags},
		Data:   append([]byte{unix.NFPROTO_NETDEV, unix.NFNETLINK_V0, 0, 0}, data...),
	}
}

// dropQueries returns a rule that drops UDP from an address, or from any, to at, over a rate.
func dropQueries(at netip.AddrPort, from netip.Addr, rate uint64) []expr.Any {
	source, dest, family := uint32(12), uint32(16), []byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff}
	if at.Addr().Is6() {
		source, dest, family = 8, 24, []byte{unix.ETH_P_IPV6 >> 8, unix.ETH_P_IPV6 & 0xff}
	}
	var rule []expr.Any
	match := func(load expr.Any, value []byte) {
		rule = append(rule, load, &expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: value})
	}
	match(&expr.Meta{Register: 1, Key: expr.MetaKeyPROTOCOL}, family)
	match(&expr.Meta{Register: 1, Key: expr.MetaKeyL4PROTO}, []byte{unix.IPPROTO_UDP})
	address := func(offset uint32, a netip.Addr) {
		match(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(a.BitLen() / 8)}, a.AsSlice())
	}
	address(dest, at.Addr())
	if from.IsValid() {
		address(source, from)
	}
	match(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, binary.BigEndian.AppendUint16(nil, at.Port()))
	return append(rule,
		&expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Unit: expr.LimitTimeSecond, Burst: uint32(max(rate/50, 1)), Over: true},
		&expr.Verdict{Kind: expr.VerdictDrop})
}
