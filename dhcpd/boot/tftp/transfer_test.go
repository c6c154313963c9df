package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// content is n bytes of which no two blocks are alike.
func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>9 ^ i*7)
	}
	return b
}

// A player is a client of RFC 7440: it acknowledges the last block in order
// when a window is full, when one is missing, or at the end.
type player struct {
	conn   net.Conn
	window int
	lose   func(n int) bool // packets from the server, by number from 1
	seen   int
	got    []byte
	acks   chan uint16
}

func (p *player) receive(block int) {
	packet, next, held := make([]byte, headerLen+block+1), uint16(1), 0
	for {
		n, err := p.conn.Read(packet)
		if err != nil {
			return
		}
		p.seen++
		if p.lose != nil && p.lose(p.seen) {
			continue
		}
		switch binary.BigEndian.Uint16(packet) {
		case opOptions:
			p.ack(0)
		case opData:
			at := binary.BigEndian.Uint16(packet[2:])
			if at != next {
				p.ack(next - 1)
				held = 0
				continue
			}
			p.got = append(p.got, packet[headerLen:n]...)
			next, held = next+1, held+1
			short := n < headerLen+block
			if held == p.window || short {
				held = 0
				p.ack(at)
			}
			// After the last it stays, to acknowledge what comes again (RFC 1350 §6).
		}
	}
}

// ack does not wait for the server to read, as no datagram does.
func (p *player) ack(n uint16) { p.acks <- n }

func (p *player) write() {
	for n := range p.acks {
		_, _ = p.conn.Write(binary.BigEndian.AppendUint16([]byte{0, opAck}, n))
	}
}

func newPlayer(conn net.Conn, window int, lose func(int) bool) *player {
	p := &player{conn: conn, window: window, lose: lose, acks: make(chan uint16, 1<<16)}
	go p.write()
	return p
}

func played(t *testing.T, file []byte, rq request, lose func(int) bool) (*player, error) {
	t.Helper()
	server, client := net.Pipe()
	defer server.Close()
	defer client.Close()
	tr := transfer{terms: rq.negotiate(int64(len(file)), 1468), conn: server, file: bytes.NewReader(file), size: int64(len(file))}
	p := newPlayer(client, tr.window, lose)
	defer close(p.acks)
	done := make(chan error)
	go func() { done <- tr.run() }()
	go p.receive(tr.block)
	err := <-done
	synctest.Wait() // the player has seen the last packet
	return p, err
}

func options(kv ...string) request {
	r := request{options: map[string]string{}}
	for i := 0; i < len(kv); i += 2 {
		r.options[kv[i]] = kv[i+1]
	}
	return r
}

func TestFilesArriveWhole(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 1468, 2936, 100_000} {
		for name, rq := range map[string]request{
			"plain":       options(),
			"tsize":       options("tsize", "0"),
			"large block": options("blksize", "1468"),
			"tiny block":  options("blksize", "8"),
			"window":      options("blksize", "1024", "windowsize", "8"),
		} {
			if name == "tiny block" && size > 3000 {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				file := content(size)
				p, err := played(t, file, rq, nil)
				if err != nil || !bytes.Equal(p.got, file) {
					t.Errorf("%s, %d bytes: got %d, %v", name, size, len(p.got), err)
				}
			})
		}
	}
}

func TestBlockNumbersWrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := content(70_000 * 8)
		p, err := played(t, file, options("blksize", "8", "windowsize", "16"), nil)
		if err != nil || !bytes.Equal(p.got, file) {
			t.Errorf("got %d bytes, %v", len(p.got), err)
		}
	})
}

func TestLossIsMended(t *testing.T) {
	for name, rq := range map[string]request{
		"one by one": options("blksize", "512"),
		"window":     options("blksize", "512", "windowsize", "4"),
	} {
		for _, every := range []int{3, 5, 7} {
			synctest.Test(t, func(t *testing.T) {
				file := content(20_000)
				chance := rand.New(rand.NewPCG(1, uint64(every)))
				p, err := played(t, file, rq, func(int) bool { return chance.IntN(every) == 0 })
				if err != nil || !bytes.Equal(p.got, file) {
					t.Errorf("%s, one of %d lost: got %d bytes, %v", name, every, len(p.got), err)
				}
			})
		}
	}
}

func TestAClientThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p, err := played(t, content(2000), options(), func(n int) bool { return n > 1 })
		if !errors.Is(err, errGone) || p.seen != 1+maxTries {
			t.Errorf("%v after %d packets, want %v after %d", err, p.seen, errGone, 1+maxTries)
		}
		if took := time.Since(start); took < 20*time.Second || took > time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

// The Sorcerer's Apprentice: an acknowledgement that comes twice must not make
// every block go out twice from then on.
func TestOldAcknowledgementsAreNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer server.Close()
		defer client.Close()
		file := content(3 * 512)
		tr := transfer{terms: (&request{}).negotiate(int64(len(file)), 1468), conn: server, file: bytes.NewReader(file), size: int64(len(file))}
		done := make(chan error, 1)
		go func() { done <- tr.run() }()
		p := newPlayer(client, 1, nil)
		defer close(p.acks)
		buf, seen := make([]byte, 600), 0
		for want := uint16(1); want <= 4; want++ {
			if _, err := client.Read(buf); err != nil || binary.BigEndian.Uint16(buf[2:]) != want {
				t.Fatalf("block %d: %v, %v", want, buf[:4], err)
			}
			seen++
			for range 2 {
				p.ack(want)
			}
		}
		if err := <-done; err != nil || seen != 4 {
			t.Errorf("%v, %d blocks", err, seen)
		}
	})
}

func TestAClientMayEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer server.Close()
		defer client.Close()
		rq := options("tsize", "0")
		tr := transfer{terms: rq.negotiate(9, 1468), conn: server, file: strings.NewReader("123456789"), size: 9}
		done := make(chan error, 1)
		go func() { done <- tr.run() }()
		buf := make([]byte, 600)
		if n, err := client.Read(buf); err != nil || string(buf[:n]) != "\x00\x06tsize\x009\x00" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		_, _ = client.Write([]byte("\x00\x05\x00\x08thank you\x00"))
		var gave abort
		if err := <-done; !errors.As(err, &gave) || err.Error() != `aborted by the client: "thank you" (8)` {
			t.Errorf("%v", err)
		}
	})
}

func TestAFileThatShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer server.Close()
		defer client.Close()
		tr := transfer{terms: (&request{}).negotiate(2000, 1468), conn: server, file: strings.NewReader("short"), size: 2000}
		done := make(chan error, 1)
		go func() { done <- tr.run() }()
		buf := make([]byte, 600)
		if n, err := client.Read(buf); err != nil || string(buf[:n]) != "\x00\x05\x00\x00the file changed\x00" {
			t.Errorf("%q, %v", buf[:n], err)
		}
		if err := <-done; err == nil {
			t.Error("no error")
		}
	})
}

func TestNegotiation(t *testing.T) {
	for _, c := range []struct {
		options  []string
		accepted string
		want     terms
	}{
		{nil, "", terms{block: 512, window: 1, timeout: time.Second}},
		{[]string{"multicast", ""}, "", terms{block: 512, window: 1, timeout: time.Second}},
		{[]string{"blksize", "65464", "windowsize", "65535", "timeout", "3", "tsize", "0"}, "blksize=1468 windowsize=32 timeout=3 tsize=12345", terms{block: 1468, window: 32, timeout: 3 * time.Second, fixed: true}},
		{[]string{"blksize", "8"}, "blksize=8", terms{block: 8, window: 1, timeout: time.Second}},
		{[]string{"blksize", "7", "windowsize", "0", "timeout", "255"}, "", terms{block: 512, window: 1, timeout: time.Second}},
		{[]string{"blksize", "-1", "windowsize", "99999999999999999999", "timeout", "x"}, "", terms{block: 512, window: 1, timeout: time.Second}},
	} {
		rq := options(c.options...)
		got := rq.negotiate(12345, 1468)
		accepted := strings.TrimPrefix(string(got.accepted), "\x00\x06")
		want := strings.NewReplacer("=", "\x00", " ", "\x00").Replace(c.accepted)
		if strings.TrimSuffix(accepted, "\x00") != want {
			t.Errorf("%v: accepted %q, want %q", c.options, accepted, want)
		}
		got.accepted = nil
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%v: %+v, want %+v", c.options, got, c.want)
		}
	}
}

func TestRequests(t *testing.T) {
	for packet, want := range map[string]error{
		"\x00\x01a\x00octet\x00":                    nil,
		"\x00\x01a\x00OCTET\x00BlkSize\x001024\x00": nil,
		"\x00\x01a\x00octet\x00blksize\x00":         nil,
		"\x00\x01a\x00octet":                        errFormat,
		"\x00\x01\x00octet\x00":                     errFormat,
		"\x00\x01":                                  errFormat,
		"\x00\x01a\x00netascii\x00":                 errMode,
		"\x00\x02a\x00octet\x00":                    errWrite,
		"\x00\x03\x00\x01":                          errSilent,
		"\x00":                                      errSilent,
	} {
		if r, err := parseRequest([]byte(packet)); err != want || err == nil && r.file != "a" {
			t.Errorf("%q: %+v, %v, want %v", packet, r, err, want)
		}
	}
	r, err := parseRequest([]byte("\x00\x01x\x00octet\x00BLKSIZE\x001024\x00blksize\x009\x00"))
	if err != nil || r.options["blksize"] != "1024" {
		t.Errorf("%+v, %v", r, err)
	}
}

// A request may say anything; what is granted stays within bounds.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x00\x01pxelinux.0\x00octet\x00blksize\x001456\x00tsize\x000\x00windowsize\x004\x00timeout\x006\x00"))
	f.Add([]byte("\x00\x02a\x00octet\x00"))
	f.Add([]byte("\x00\x01\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		r, err := parseRequest(packet)
		if err != nil {
			return
		}
		got := r.negotiate(1<<40, 1468)
		if got.block < minBlock || got.block > 1468 || got.window < 1 || got.window > maxWindow ||
			got.timeout < time.Second || got.timeout > maxTimeout || len(got.accepted) > 100 || strings.ContainsRune(r.file, 0) {
			t.Errorf("%q: %+v", packet, got)
		}
	})
}

// Whatever a client answers, it acknowledges no more than was sent.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0, 4, 0, 1}, int64(0), uint8(1))
	f.Add([]byte{0, 4, 0, 3}, int64(65534), uint8(8))
	f.Add([]byte("\x00\x05\x00\x08no more"), int64(7), uint8(0))
	f.Fuzz(func(t *testing.T, packet []byte, acked int64, blocks uint8) {
		tr := transfer{acked: acked & (1<<40 - 1)}
		if ahead, err := tr.ackOf(packet, int64(blocks)); err == nil && (ahead < -1 || ahead > int64(blocks)) {
			t.Errorf("%x: %d of %d", packet, ahead, blocks)
		}
	})
}
