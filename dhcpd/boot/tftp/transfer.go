package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/vnetd/vnetd/internal/limit"
)

const (
	maxTries     = 6 // of a packet
	maxPause     = 8 * time.Second
	maxTransfer  = time.Hour // for a whole file
	acksAtMost   = 1 << 10   // packets that are read while one answer is awaited
	receiveBytes = 512
)

var (
	errGone = errors.New("the client does not respond")
	errLong = errors.New("the transfer takes too long")
)

// abort is an ERROR packet of the client.
type abort struct{ message string }

func (a abort) Error() string { return "aborted by the client: " + a.message }

// A transfer sends a file to the client at the other end of conn.
type transfer struct {
	terms
	conn net.Conn
	file io.ReaderAt
	size int64

	acknowledged func() // called with the first acknowledgement; nil is fine

	acked  int64 // the last block that the client has in order
	resent bool  // the window was retransmitted before the timeout
	packet []byte
	in     [receiveBytes]byte
}

// run sends the file, and returns when the client has it or the transfer fails.
func (t *transfer) run() error {
	t.packet = make([]byte, headerLen+t.block)
	until := time.Now().Add(maxTransfer)
	if t.accepted != nil {
		offer := func() error {
			_, err := t.conn.Write(t.accepted)
			return err
		}
		if err := t.retransmit(until, offer, 0); err != nil {
			return err
		}
	}
	// The last block is shorter than the others, maybe empty (RFC 1350 §6).
	last := t.size/int64(t.block) + 1
	for t.acked < last {
		sent := min(t.acked+int64(t.window), last)
		window := func() error {
			for n := t.acked + 1; n <= sent; n++ {
				if err := t.sendBlock(n); err != nil {
					return err
				}
			}
			return nil
		}
		if err := t.retransmit(until, window, sent-t.acked); err != nil {
			return err
		}
	}
	return nil
}

func (t *transfer) sendBlock(n int64) error {
	offset := (n - 1) * int64(t.block)
	length := min(int64(t.block), t.size-offset)
	if got, err := t.file.ReadAt(t.packet[headerLen:headerLen+length], offset); int64(got) < length {
		_, _ = t.conn.Write(errorPacket(codeOther, "the file changed"))
		return fmt.Errorf("read at %d: %w", offset, err)
	}
	binary.BigEndian.PutUint16(t.packet, opData)
	binary.BigEndian.PutUint16(t.packet[2:], uint16(n))
	_, err := t.conn.Write(t.packet[:headerLen+length])
	return err
}

// retransmit sends packets until the client acknowledges them, or a part: one of
// the next blocks, or the last one again where none is awaited.
func (t *transfer) retransmit(until time.Time, send func() error, blocks int64) error {
	pause := t.timeout
	for range maxTries {
		if time.Now().After(until) {
			return errLong
		}
		if err := send(); err != nil {
			return err
		}
		ok, err := t.await(pause, blocks)
		if ok || err != nil {
			return err
		}
		if !t.fixed {
			pause = min(2*pause, maxPause)
		}
	}
	return errGone
}

// await reads until a packet is acknowledged; false: it is to be sent again.
func (t *transfer) await(pause time.Duration, blocks int64) (bool, error) {
	if err := t.conn.SetReadDeadline(time.Now().Add(pause)); err != nil {
		return false, err
	}
	for range acksAtMost {
		n, err := t.conn.Read(t.in[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		switch ahead, err := t.ackOf(t.in[:n], blocks); {
		case err != nil:
			return false, err
		case ahead > 0 || ahead == 0 && blocks == 0:
			t.acked += ahead
			t.resent = false
			if t.acknowledged != nil {
				t.acknowledged()
				t.acknowledged = nil
			}
			return true, nil
		case ahead == 0 && t.window > 1 && !t.resent:
			t.resent = true // the first of the window is lost
			return false, nil
		}
		// An old acknowledgement. To answer each would double every packet from
		// then on (RFC 1123 §4.2.3.1), and some clients send one for each block
		// that is out of order.
	}
	return false, nil
}

// ackOf returns how many blocks a packet acknowledges, and -1 if it acknowledges none of those
// that were sent.
func (t *transfer) ackOf(b []byte, blocks int64) (ahead int64, err error) {
	if len(b) < headerLen {
		return -1, nil
	}
	switch binary.BigEndian.Uint16(b) {
	case opError:
		message, _, _ := bytes.Cut(b[headerLen:], []byte{0})
		return -1, abort{fmt.Sprintf("%q (%d)", limit.Text(string(message)), binary.BigEndian.Uint16(b[2:]))}
	case opAck:
		ahead = int64(binary.BigEndian.Uint16(b[2:]) - uint16(t.acked))
		if ahead <= blocks {
			return ahead, nil
		}
	}
	return -1, nil
}
