package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The opcodes, RFC 1350 §5 and RFC 2347.
const (
	opRead = iota + 1
	opWrite
	opData
	opAck
	opError
	opOptions
)

// Error codes, RFC 1350 appendix and RFC 2347.
const (
	codeOther    = 0
	codeNotFound = 1
	codeAccess   = 2
	codeIllegal  = 4
)

const (
	headerLen    = 4
	defaultBlock = 512
	minBlock     = 8  // RFC 2348
	maxWindow    = 32 // blocks under way to one client; RFC 7440 allows 65535
	firstTimeout = time.Second
	maxTimeout   = 10 * time.Second // that a client may ask for; RFC 2349 allows 255 s
)

// Errors of parseRequest. errSilent is not answered.
var (
	errSilent = errors.New("not a request")
	errWrite  = errors.New("this server is read-only")
	errMode   = errors.New("only mode octet (binary) is served")
	errFormat = errors.New("malformed request")
)

// A request is a read request. Options are as the client wrote them, their
// names in lower case; of several by one name the first counts.
type request struct {
	file    string
	options map[string]string
}

func parseRequest(b []byte) (request, error) {
	if len(b) < 2 {
		return request{}, errSilent
	}
	switch binary.BigEndian.Uint16(b) {
	case opRead:
	case opWrite:
		return request{}, errWrite
	default:
		return request{}, errSilent
	}
	fields := bytes.Split(b[2:], []byte{0})
	if len(fields) < 3 || len(fields[0]) == 0 { // the last is what follows the last NUL
		return request{}, errFormat
	}
	if !strings.EqualFold(string(fields[1]), "octet") {
		return request{}, errMode
	}
	r := request{file: string(fields[0]), options: map[string]string{}}
	for o := fields[2 : len(fields)-1]; len(o) >= 2; o = o[2:] {
		name := strings.ToLower(string(o[0]))
		if _, twice := r.options[name]; !twice {
			r.options[name] = string(o[1])
		}
	}
	return r, nil
}

// terms are the negotiated options of a transfer.
type terms struct {
	block, window int
	timeout       time.Duration
	fixed         bool   // the client chose the timeout: there is no back-off
	accepted      []byte // an OACK; nil if no known option was requested
}

// negotiate accepts the known options. A block is at most
// maxBlock, so that its packet is not fragmented: ROMs do not reassemble.
func (r *request) negotiate(size int64, maxBlock int) terms {
	t := terms{block: defaultBlock, window: 1, timeout: firstTimeout}
	accept := func(name string, value int64) {
		if t.accepted == nil {
			t.accepted = []byte{0, opOptions}
		}
		t.accepted = fmt.Appendf(t.accepted, "%s\x00%d\x00", name, value)
	}
	if n, ok := r.number("blksize"); ok && n >= minBlock {
		t.block = min(n, max(maxBlock, defaultBlock))
		accept("blksize", int64(t.block))
	}
	if n, ok := r.number("windowsize"); ok && n >= 1 {
		t.window = min(n, maxWindow)
		accept("windowsize", int64(t.window))
	}
	if n, ok := r.number("timeout"); ok && n >= 1 && time.Duration(n)*time.Second <= maxTimeout {
		t.timeout, t.fixed = time.Duration(n)*time.Second, true
		accept("timeout", int64(n))
	}
	if _, ok := r.options["tsize"]; ok {
		accept("tsize", size)
	}
	return t
}

func (r *request) number(option string) (int, bool) {
	n, err := strconv.ParseUint(r.options[option], 10, 16)
	return int(n), err == nil
}

func errorPacket(code byte, message string) []byte {
	return append(append([]byte{0, opError, 0, code}, message...), 0)
}
