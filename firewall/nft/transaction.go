package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	// errStale: the ruleset is not of the generation that the transaction was
	// made for, and nothing was done.
	errStale = errors.New("the ruleset was changed by another process")
	// errUnknown: there is no answer on whether the transaction was committed.
	errUnknown = errors.New("the outcome of the transaction is unknown")
)

// ObjectError is the kernel's refusal of one object. The transaction that it was
// part of changed nothing.
type ObjectError struct {
	// Object is the action and its object, as in `add rule inet vnetd refuse: reject`.
	Object string
	// Detail is the kernel's own explanation or our hint; it may be empty.
	Detail string
	Errno  syscall.Errno
}

func (e *ObjectError) Error() string {
	if e.Detail != "" {
		return fmt.Sprintf("%s: %v (%s)", e.Object, e.Errno, e.Detail)
	}
	return fmt.Sprintf("%s: %v", e.Object, e.Errno)
}

// Unwrap returns the error number, for errors.Is.
func (e *ObjectError) Unwrap() error { return e.Errno }

// batch frames messages as one transaction on top of generation gen, or of any
// if gen is 0. The last message asks for an acknowledgement: without one, silence
// would have to be taken for success.
func (s *socket) batch(ms []message, gen uint32) (wire []byte, first uint32) {
	begin := []byte{0, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
	end := bytes.Clone(begin)
	if gen != 0 {
		begin = appendNumber(begin, unix.NFNL_BATCH_GENID, gen)
	}
	size := 2 * 64
	for _, m := range ms {
		size += headerLen + align(len(m.data))
	}
	first = s.next()
	wire = message{typ: unix.NFNL_MSG_BATCH_BEGIN, flags: unix.NLM_F_REQUEST, seq: first, data: begin}.append(make([]byte, 0, size))
	for i, m := range ms {
		if m.seq = s.next(); i == len(ms)-1 {
			m.flags |= unix.NLM_F_ACK
		}
		wire = m.append(wire)
	}
	return message{typ: unix.NFNL_MSG_BATCH_END, flags: unix.NLM_F_REQUEST, seq: s.next(), data: end}.append(wire), first
}

// commit runs the messages as one transaction. On errUnknown the caller has to read the tables
// again; on any other error nothing was changed.
func (s *socket) commit(ms []message, gen uint32) error {
	s.drain()
	if s.seq > 1<<31 { // so that numbers do not wrap within a transaction
		s.seq = 0
	}
	wire, first := s.batch(ms, gen)
	switch err := s.send(wire); {
	case errors.Is(err, unix.EMSGSIZE):
		return fmt.Errorf("send a transaction of %d bytes: %w: the socket's buffer is too small without CAP_NET_ADMIN", len(wire), err)
	case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
		return errUnknown
	case err != nil:
		return fmt.Errorf("send a transaction: %w", err)
	}
	return s.outcome(ms, first)
}

// outcome reads the answers to a transaction, which the kernel has processed within send.
// Several objects may have failed; the first is reported, as the others often are its
// consequence.
func (s *socket) outcome(ms []message, first uint32) error {
	var failed error
	acknowledged := false
	for {
		answers, err := s.receive(false)
		if err != nil {
			return errUnknown
		}
		if len(answers) == 0 {
			break
		}
		for _, a := range answers {
			i := int(a.seq) - int(first) - 1
			if a.typ != unix.NLMSG_ERROR || i < -1 || i > len(ms) {
				continue
			}
			if errno := a.errno(); errno == 0 {
				acknowledged = true
			} else if failed == nil {
				failed = refusal(ms, i, errno, a)
			}
		}
	}
	if failed == nil && !acknowledged {
		return errUnknown
	}
	return failed
}

// refusal explains the answer to message i; -1 and len(ms) stand for the frame,
// that is, the transaction as a whole.
func refusal(ms []message, i int, errno syscall.Errno, answer message) error {
	if errno == unix.ERESTART {
		return errStale
	}
	if i < 0 || i >= len(ms) {
		return &ObjectError{Object: "commit", Errno: errno}
	}
	said, offset := extended(answer)
	e := &ObjectError{Object: describe(ms[i]), Detail: said, Errno: errno}
	if e.Detail == "" {
		e.Detail = hint(ms[i], errno, offset)
	}
	return e
}

// extended reads an extended acknowledgement: the kernel's text, and the offset of the
// attribute that it is about, from the beginning of the message.
func extended(answer message) (said string, offset int) {
	const capped = 4 + headerLen // the error, and the header of our message
	if answer.flags&unix.NLM_F_ACK_TLVS == 0 || len(answer.data) < capped {
		return "", 0
	}
	as := attrs(answer.data[capped:])
	if b := get(as, unix.NLMSGERR_ATTR_OFFS); len(b) == 4 {
		offset = int(binary.NativeEndian.Uint32(b))
	}
	return text(as, unix.NLMSGERR_ATTR_MSG), offset
}
