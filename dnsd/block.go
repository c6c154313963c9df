package dnsd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// udpListeners are the SO_REUSEPORT sockets of one address, with their ingress filter
// and what is blocked at bridge ports.
type udpListeners struct {
	at    netip.AddrPort
	socks []*net.UDPConn
	least time.Duration // of a block: blockTime
	rate  uint64        // queries a second that pass a block: blockedRate

	sampling atomic.Bool // for top talkers

	mu    sync.Mutex
	from  ingress
	block *nl.Conn      // owns the table that drops; nil: nothing is blocked
	timer *time.Timer   // ends the block
	span  time.Duration // of this or the last block
	ended time.Time     // the last one
}

const (
	// blockTime is how long a port that floods is blocked. Detecting it again takes
	// part of that, during which it is answered.
	blockTime = 100 * time.Millisecond

	// maxBlockTime is the longest: a port that floods on is blocked for twice as long
	// each time.
	maxBlockTime = 8 * blockTime

	// blockedRate queries a second pass a block, for a port may have several guests.
	blockedRate = 1000
)

// accept replaces the ingress filter.
func (l *udpListeners) accept(from ingress) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from = from
	var errs []error
	for _, sock := range l.socks {
		errs = append(errs, control(sock, func(fd int) error { return from.attach(fd, l.at.Addr().Is4()) }))
	}
	return errors.Join(errs...)
}

// link is the index of the link that packets may come by; 0 is any.
func (l *udpListeners) link() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.from.link
}

// drop has the kernel drop what top talkers send, for a while, before their bridge sees
// it. It reports whether that is new.
func (l *udpListeners) drop(talkers []talker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.block != nil {
		return false
	}
	block, err := blockPorts(l.at, talkers, l.rate)
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

// blockPorts adds a table that drops the talkers' queries to an address where they enter
// the host, except for so many a second. The connection owns the table: the kernel
// removes it when the connection is closed, or the process ends.
func blockPorts(at netip.AddrPort, talkers []talker, rate uint64) (*nl.Conn, error) {
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
			a.Nested(unix.NFTA_RULE_EXPRESSIONS, func(a *nl.AttributeEncoder) error { dropQueries(a, at, t.addr, rate); return nil })
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
	flags := nl.Request
	return nl.Message{Header: nl.Header{Type: nl.HeaderType(typ), Flags: flags}, Data: []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES}}
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

// dropQueries encodes a rule: UDP from an address, or from any, to at, over the limit.
func dropQueries(list *nl.AttributeEncoder, at netip.AddrPort, from netip.Addr, rate uint64) {
	expr := func(name string, data func(*nl.AttributeEncoder)) {
		list.Nested(unix.NFTA_LIST_ELEM, func(a *nl.AttributeEncoder) error {
			a.String(unix.NFTA_EXPR_NAME, name)
			a.Nested(unix.NFTA_EXPR_DATA, func(a *nl.AttributeEncoder) error { data(a); return nil })
			return nil
		})
	}
	equals := func(value []byte) {
		expr("cmp", func(a *nl.AttributeEncoder) {
			a.Uint32(unix.NFTA_CMP_SREG, unix.NFT_REG_1)
			a.Uint32(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ)
			a.Nested(unix.NFTA_CMP_DATA, func(a *nl.AttributeEncoder) error { a.Bytes(unix.NFTA_DATA_VALUE, value); return nil })
		})
	}
	meta := func(key uint32, value ...byte) {
		expr("meta", func(a *nl.AttributeEncoder) {
			a.Uint32(unix.NFTA_META_DREG, unix.NFT_REG_1)
			a.Uint32(unix.NFTA_META_KEY, key)
		})
		equals(value)
	}
	payload := func(base, offset uint32, value []byte) {
		expr("payload", func(a *nl.AttributeEncoder) {
			a.Uint32(unix.NFTA_PAYLOAD_DREG, unix.NFT_REG_1)
			a.Uint32(unix.NFTA_PAYLOAD_BASE, base)
			a.Uint32(unix.NFTA_PAYLOAD_OFFSET, offset)
			a.Uint32(unix.NFTA_PAYLOAD_LEN, uint32(len(value)))
		})
		equals(value)
	}
	source, dest, proto := uint32(12), uint32(16), uint16(unix.ETH_P_IP)
	if at.Addr().Is6() {
		source, dest, proto = 8, 24, unix.ETH_P_IPV6
	}
	meta(unix.NFT_META_PROTOCOL, byte(proto>>8), byte(proto))
	meta(unix.NFT_META_L4PROTO, unix.IPPROTO_UDP)
	payload(unix.NFT_PAYLOAD_NETWORK_HEADER, dest, at.Addr().AsSlice())
	if from.IsValid() {
		payload(unix.NFT_PAYLOAD_NETWORK_HEADER, source, from.AsSlice())
	}
	payload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, binary.BigEndian.AppendUint16(nil, at.Port()))
	expr("limit", func(a *nl.AttributeEncoder) {
		a.Uint64(unix.NFTA_LIMIT_RATE, rate)
		a.Uint64(unix.NFTA_LIMIT_UNIT, 1)
		a.Uint32(unix.NFTA_LIMIT_BURST, uint32(max(rate/50, 1)))
		a.Uint32(unix.NFTA_LIMIT_FLAGS, unix.NFT_LIMIT_F_INV)
	})
	expr("immediate", func(a *nl.AttributeEncoder) {
		a.Uint32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		a.Nested(unix.NFTA_IMMEDIATE_DATA, func(a *nl.AttributeEncoder) error {
			a.Nested(unix.NFTA_DATA_VERDICT, func(a *nl.AttributeEncoder) error {
				a.Uint32(unix.NFTA_VERDICT_CODE, 0) // NF_DROP
				return nil
			})
			return nil
		})
	})
}
