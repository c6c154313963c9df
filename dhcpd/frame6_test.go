package dhcpd

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

var (
	ourMAC   = lease.MAC{2, 0, 0, 0, 0xff, 1}
	guestMAC = lease.MAC{2, 0, 0, 0, 0, 1}
	ours     = netip.MustParseAddr("fe80::1")
	guests   = netip.MustParseAddr("fe80::ff:fe00:1")
)

func reply6(payload string) []byte {
	b := append(make([]byte, headers6Len), payload...)
	fillDHCPv6(b, ourMAC, guestMAC, ours, netip.AddrPortFrom(guests, client6Port))
	return b
}

// request6 is what a guest sends.
func request6(payload string) []byte {
	b := reply6(payload)
	copy(b[6:], guestMAC[:])
	binary.BigEndian.PutUint16(b[payload6+2:], server6Port)
	return b
}

// RFC 8200 §8.1: the pseudo-header is the addresses, the length in 32 bits, and
// the protocol in 32 bits.
func checksum6OK(b []byte) bool {
	payload := b[payload6:]
	pseudo := bytes.Clone(b[ethLen+8 : payload6])
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(payload)))
	pseudo = append(pseudo, 0, 0, 0, b[ethLen+6])
	return sum(uint32(sum(0, pseudo)), payload) == 0xffff
}

func TestChecksums6AreComplete(t *testing.T) {
	for _, payload := range []string{"", "odd", "even", string(bytes.Repeat([]byte{0xff}, 1001)), string(bytes.Repeat([]byte{0xff}, 1400))} {
		if !checksum6OK(reply6(payload)) {
			t.Errorf("a UDP packet of %d bytes has a wrong checksum", len(payload))
		}
		if !checksum6OK(neighborFrame(append([]byte{134, 0, 9, 9}, payload...), ourMAC, allNodesMAC, ours, allNodes)) {
			t.Errorf("an ICMPv6 message of %d bytes has a wrong checksum", 4+len(payload))
		}
	}
}

func TestParseFrame6(t *testing.T) {
	f, ok := parseFrame6(append(request6("payload"), "padding"...))
	if !ok || f.mac != guestMAC || f.src != ours || f.dst != guests || string(f.dhcp) != "payload" || f.icmp != nil {
		t.Errorf("%+v, %v", f, ok)
	}
	f, ok = parseFrame6(neighborFrame(make([]byte, 8), guestMAC, allNodesMAC, guests, allNodes))
	if !ok || f.hops != 255 || len(f.icmp) != 8 || f.dhcp != nil {
		t.Errorf("%+v, %v", f, ok)
	}
	for name, spoil := range map[string]func(b []byte){
		"IPv4":                   func(b []byte) { b[12], b[13] = 8, 0 },
		"version 4":              func(b []byte) { b[ethLen] = 0x45 },
		"a fragment":             func(b []byte) { b[ethLen+6] = 44 },
		"to port 546":            func(b []byte) { b[payload6+3] = client6Port & 0xff },
		"longer than it is":      func(b []byte) { b[ethLen+4] = 0xff },
		"a UDP length of 7":      func(b []byte) { b[payload6+4], b[payload6+5] = 0, 7 },
		"from a multicast MAC":   func(b []byte) { b[6] |= 1 },
		"from a multicast group": func(b []byte) { b[ethLen+8] = 0xff },
		"from nobody":            func(b []byte) { clear(b[ethLen+8:][:16]) },
	} {
		b := request6("payload")
		spoil(b)
		if f, ok := parseFrame6(b); ok && f.dhcp != nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// The kernel lets through what we parse, and nothing else.
func TestRequest6Filter(t *testing.T) {
	prog := make([]bpf.Instruction, len(request6Filter))
	for i, r := range request6Filter {
		prog[i] = r.Disassemble()
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	solicit := make([]byte, 8)
	solicit[0] = solicitation
	tcp := request6("payload")
	tcp[ethLen+6] = 6
	for name, tt := range map[string]struct {
		frame []byte
		want  bool
	}{
		"a request":        {request6("payload"), true},
		"a reply":          {reply6("payload"), false},
		"a solicitation":   {neighborFrame(solicit, guestMAC, allNodesMAC, guests, allNodes), true},
		"an advertisement": {neighborFrame([]byte{134, 0, 0, 0}, guestMAC, allNodesMAC, guests, allNodes), false},
		"TCP":              {tcp, false},
		"a short frame":    {request6("")[:payload6], false},
	} {
		if n, err := vm.Run(tt.frame); err != nil || n > 0 != tt.want {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func FuzzFrames6(f *testing.F) {
	f.Add(request6("payload"))
	f.Add(neighborFrame([]byte{133, 0, 0, 0, 0, 0, 0, 0}, guestMAC, allNodesMAC, guests, allNodes))
	f.Fuzz(func(t *testing.T, b []byte) {
		if f, ok := parseFrame6(b); ok && len(f.dhcp)+len(f.icmp) > len(b)-payload6 {
			t.Errorf("%d octets of payload out of %d", len(f.dhcp)+len(f.icmp), len(b))
		}
	})
}
