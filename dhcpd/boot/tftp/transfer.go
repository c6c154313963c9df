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
	maxTries     = 6 // of a packet, before its client is gone
	maxPause     = 8 * time.Second
	longestEver  = time.Hour // for a whole file
	acksAtMost   = 1 << 10   // packets that are read while one answer is awaited
	receiveBytes = 512
)

var (
	errGone = errors.New("the client does not answer")
	errLong = errors.New("it takes too long")
)

// refusal is the client's own word that it wants no more.
type refusal struct{ message string }

func (r refusal) Error() string { return "the client ended it: " + r.message }

// A transfer sends a file to the client at the other end of conn.
type transfer struct {
	terms
	conn net.Conn
	file io.ReaderAt
	size int64

	acknowledged func() // called with the first acknowledgement; nil is fine

	acked   int64 // the last block that the client has in order
	hurried bool  // what follows was sent again before its time
	packet  []byte
	in      [receiveBytes]byte
}

// run returns when the client has the file, or why it does not get it.
func (t *transfer) run() error {
	t.packet = make([]byte, headerLen+t.block)
	until := time.Now().Add(longestEver)
	if t.accepted != nil {
		if err := t.insist(until, t.offer, 0); err != nil {
			return err
		}
	}
	// The last block is shorter than the others, maybe empty: that is its mark.
	last := t.size/int64(t.block) + 1
	for t.acked < last {
		sent := min(t.acked+int64(t.window), last)
		if err := t.insist(until, func() error { return t.sendWindow(sent) }, sent-t.acked); err != nil {
			return err
		}
	}
	return nil
}

func (t *transfer) offer() error {
	_, err := t.conn.Write(t.accepted)
	return err
}

func (t *transfer) sendWindow(last int64) error {
	for n := t.acked + 1; n <= last; n++ {
		if err := t.sendBlock(n); err != nil {
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

// insist sends something until the client acknowledges it, or a part: one of
// the next blocks, or the last one again where none is awaited.
func (t *transfer) insist(until time.Time, send func() error, blocks int64) error {
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

// await reads until something is acknowledged; false asks to send again.
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
		switch ahead, err := t.judge(t.in[:n], blocks); {
		case err != nil:
			return false, err
		case ahead > 0 || ahead == 0 && blocks == 0:
			t.acked += ahead
			t.hurried = false
			if t.acknowledged != nil {
				t.acknowledged()
				t.acknowledged = nil
			}
			return true, nil
		case ahead == 0 && t.window > 1 && !t.hurried:
			t.hurried = true // the first of the window is lost
			return false, nil
		}
		// An old acknowledgement. To answer each would double every packet from
		// then on (RFC 1123 §4.2.3.1), and some clients send one for each block
		// that is out of order.
	}
	return false, nil
}

// judge returns how far ahead of what is acknowledged a packet's
// acknowledgement is, and -1 if it is none for what is under way.
func (t *transfer) judge(b []byte, blocks int64) (ahead int64, err error) {
	if len(b) < headerLen {
		return -1, nil
	}
	switch binary.BigEndian.Uint16(b) {
	case opError:
		message, _, _ := bytes.Cut(b[headerLen:], []byte{0})
		return -1, refusal{fmt.Sprintf("%q (%d)", limit.Text(string(message)), binary.BigEndian.Uint16(b[2:]))}
	case opAck:
		ahead = int64(binary.BigEndian.Uint16(b[2:]) - uint16(t.acked))
		if ahead <= blocks {
			return ahead, nil
		}
	}
	return -1, nil
}
