package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// FuzzParse holds Parse to the general codec: what it takes the codec reads as
// the same question, and what the codec reads as a plain query it takes.
func FuzzParse(f *testing.F) {
	f.Add(query(f, "web.lab.test.", dns.TypeA))
	f.Add(query(f, ".", dns.TypeNS, edns(4096, true)))
	f.Add(query(f, strings.Repeat(strings.Repeat("a", 63)+".", 3), dns.TypeAAAA, edns(0, false)))
	f.Add(query(f, `a\.b\000.lab.test.`, dns.TypeANY))
	f.Add(append(query(f, "a.", dns.TypeA)[:12], 0xc0, 0x0c, 0, 1, 0, 1))
	f.Add(query(f, "a.", dns.TypeA, func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
	}))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		q, m := new(Query), new(dns.Msg)
		outcome, err := Parse(pkt, q), m.Unpack(pkt)
		switch {
		case outcome == OK && err != nil:
			// The codec also looks into options and into names' escapes.
			if !q.EDNS {
				t.Fatalf("taken, but the codec says %v", err)
			}
		case outcome == OK:
			same(t, q, m)
		case outcome == Unsupported && err == nil && plain(m, pkt):
			t.Fatalf("plain query not taken: %v", m)
		}
	})
}

func plain(m *dns.Msg, pkt []byte) bool {
	if len(m.Question) != 1 || len(m.Answer)+len(m.Ns) > 0 || len(m.Extra) > 1 {
		return false
	}
	if len(m.Extra) == 1 && (m.IsEdns0() == nil || m.Extra[0].Header().Name != ".") {
		return false
	}
	if !bytes.Equal(pkt[6:12], []byte{0, 0, 0, 0, 0, byte(len(m.Extra))}) {
		return false // promised, not there: the codec forgives it
	}
	m.Compress = false
	again, err := m.Pack()
	return err == nil && len(again) == len(pkt) // else compressed, or bytes behind
}

func same(t *testing.T, q *Query, m *dns.Msg) {
	t.Helper()
	name, _, err := dns.UnpackDomainName(q.Name, 0)
	if err != nil || len(m.Question) != 1 {
		t.Fatalf("name %q: %v, %d questions", q.Name, err, len(m.Question))
	}
	want := dns.Question{Name: name, Qtype: q.Type, Qclass: q.Class}
	if m.Question[0] != want || m.Id != q.ID {
		t.Fatalf("got %+v id %d, the codec %+v id %d", want, q.ID, m.Question[0], m.Id)
	}
	opt := m.IsEdns0()
	if (opt != nil) != q.EDNS || opt != nil && (opt.Do() != q.DO || opt.Version() != q.Version) {
		t.Fatalf("got %+v, the codec %v", q, opt)
	}
}

// FuzzParseMessage holds ParseMessage to the general codec, and its replies to
// being readable and within bounds.
func FuzzParseMessage(f *testing.F) {
	q := parsed(f, query(f, "www.example.org.", dns.TypeA, edns(1232, false)))
	add := func(change func(*dns.Msg)) { f.Add(reply(f, q, 5, change), uint32(10)) }
	add(func(m *dns.Msg) {
		m.Answer = records(f, "www.example.org. 60 IN CNAME x.example.org.", "x.example.org. 30 IN A 192.0.2.1")
		m.SetEdns0(1232, true)
	})
	add(func(m *dns.Msg) { m.Rcode, m.Ns = NameError, records(f, soaLine) })
	add(func(m *dns.Msg) {
		m.SetEdns0(1232, true)
		m.Extra = append(m.Extra, records(f, "ns.example.org. 10 IN A 192.0.2.2")...)
	})
	f.Fuzz(func(t *testing.T, pkt []byte, age uint32) {
		m, err := ParseMessage(pkt, 5, q.Key())
		if err != nil {
			return
		}
		if m.Life() < 0 || m.Life() > MaxLife {
			t.Fatalf("life %v", m.Life())
		}
		out := m.AppendReply(nil, q, age)
		if len(out) > q.Max {
			t.Fatalf("%d bytes for a client that takes %d", len(out), q.Max)
		}
		theirs := new(dns.Msg)
		if theirs.Unpack(pkt) != nil {
			return // a bad record inside: the client's to judge
		}
		ours := new(dns.Msg)
		if ours.Unpack(out) != nil {
			return // a name that points into a TTL, which counts down: the client's to judge
		}
		if !ours.Truncated && (len(ours.Answer) != len(theirs.Answer) || len(ours.Ns) != len(theirs.Ns)) {
			t.Fatalf("sections differ: %v, %v", ours, theirs)
		}
	})
}
