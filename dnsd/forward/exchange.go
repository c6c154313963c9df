package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// exchange asks over UDP, over TCP what came back truncated, and without EDNS
// those who do not know it. Silence is context.DeadlineExceeded.
func (u *upstream) exchange(ctx context.Context, key []byte) (*wire.Message, error) {
	m, err := u.overUDP(ctx, key, true)
	if err == nil && !m.EDNS() && (m.Code() == wire.FormatError || m.Code() == wire.NotImplemented) {
		m, err = u.overUDP(ctx, key, false) // RFC 6891 §6.2.2
	}
	if err == nil && m.Truncated() {
		return u.overTCP(ctx, key, m.EDNS())
	}
	return m, err
}

var packets = sync.Pool{New: func() any { return new([4096]byte) }}

func (u *upstream) overUDP(ctx context.Context, key []byte, edns bool) (*wire.Message, error) {
	conn, release, err := u.dial(ctx, "udp")
	if err != nil {
		return nil, err
	}
	defer release()
	buf := packets.Get().(*[4096]byte)
	defer packets.Put(buf)
	id := newID()
	if _, err := conn.Write(wire.AppendQuery(buf[:0], id, key, edns)); err != nil {
		return nil, u.wrap("udp", err)
	}
	for {
		n, err := conn.Read(buf[:])
		if err != nil {
			return nil, u.wrap("udp", err)
		}
		m, err := parse(buf[:n], id, key)
		if !errors.Is(err, wire.ErrMismatch) { // else a late or forged one: wait on
			return m, err
		}
	}
}

func (u *upstream) overTCP(ctx context.Context, key []byte, edns bool) (*wire.Message, error) {
	conn, release, err := u.dial(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	defer release()
	id := newID()
	query := wire.AppendQuery(make([]byte, 2, 512), id, key, edns)
	binary.BigEndian.PutUint16(query, uint16(len(query)-2))
	if _, err := conn.Write(query); err != nil {
		return nil, u.wrap("tcp", err)
	}
	if _, err := io.ReadFull(conn, query[:2]); err != nil {
		return nil, u.wrap("tcp", err)
	}
	reply := make([]byte, binary.BigEndian.Uint16(query))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, u.wrap("tcp", err)
	}
	return parse(reply, id, key)
}

// dial returns a connection that lives for one try, or until ctx ends.
func (u *upstream) dial(ctx context.Context, network string) (net.Conn, func(), error) {
	deadline := time.Now().Add(tryTime)
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.DialContext(ctx, network, u.addr.String())
	if err != nil {
		return nil, nil, u.wrap(network, err)
	}
	_ = conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() { stop(); _ = conn.Close() }, nil
}

func (u *upstream) wrap(network string, err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = context.DeadlineExceeded
	}
	return fmt.Errorf("ask %s over %s: %w", u.addr, network, err)
}

// newID is unpredictable: the runtime's generator is ChaCha8, seeded by the
// kernel.
func newID() uint16 { return uint16(rand.Uint32()) }

// parse reads a reply. The few whose OPT record is not the last are written
// anew by the general codec: names may point behind the record, and only the
// codec knows where in the data of all types there are names.
func parse(pkt []byte, id uint16, key []byte) (*wire.Message, error) {
	m, err := wire.ParseMessage(pkt, id, key)
	if !errors.Is(err, wire.ErrShape) {
		return m, err
	}
	var msg dns.Msg
	if msg.Unpack(pkt) != nil {
		return nil, wire.ErrMalformed
	}
	plain := msg.Extra[:0]
	for _, rr := range msg.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			plain = append(plain, rr)
		}
	}
	msg.Extra, msg.Compress = plain, true
	if pkt, err = msg.Pack(); err != nil {
		return nil, wire.ErrMalformed
	}
	return wire.ParseMessage(pkt, id, key)
}
