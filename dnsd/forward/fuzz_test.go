package forward

import (
	"slices"
	"testing"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

func replyTo(f *testing.F, key []byte, change func(*dns.Msg)) []byte {
	f.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(wire.AppendQuery(nil, 5, key, true)); err != nil {
		f.Fatal(err)
	}
	m.SetReply(m)
	m.Compress = true
	change(m)
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzReply is what an upstream can send, or who passes for one: whatever is
// taken is about the question, as the general codec sees it.
func FuzzReply(f *testing.F) {
	packed, _ := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA).SetEdns0(1232, true).Pack()
	q := new(wire.Query)
	if wire.Parse(packed, q) != wire.OK {
		f.Fatal("query")
	}
	for _, list := range [][]string{
		{"www.example.org. 60 IN A 192.0.2.1"},
		{"www.example.org. 60 IN CNAME a.example.net.", "a.example.net. 60 IN A 10.0.0.1"},
		{"a.example.net. 60 IN A 10.0.0.1", "www.example.org. 60 IN CNAME a.example.net."},
		{"example.org. 60 IN DNAME example.net.", "www.example.org. 60 IN CNAME www.example.net.", "evil. 60 IN A 192.0.2.1"},
	} {
		f.Add(replyTo(f, q.Key(), func(m *dns.Msg) {
			m.Answer = rrs(f, list...)
			m.Ns = rrs(f, "example.org. 60 IN SOA a. b. 1 2 3 4 5", "b.example.org. 60 IN NSEC c.example.org. A")
			m.SetEdns0(1232, true)
		}))
	}
	f.Fuzz(func(t *testing.T, pkt []byte) {
		m, err := parse(pkt, 5, q.Key())
		if err != nil {
			return
		}
		m.HasCase(wire.RandomCase())
		got := new(dns.Msg)
		if got.Unpack(m.AppendReply(nil, q, 0)) != nil || got.Truncated {
			return // bad data in a record is the client's to judge
		}
		answer, ns := slices.Clone(got.Answer), slices.Clone(got.Ns)
		tidy(got)
		if lines(answer) != lines(got.Answer) || lines(ns) != lines(got.Ns) || len(got.Extra) > 1 {
			t.Fatalf("%x: there is more in it than was asked for:\n%s\n%s", pkt, lines(answer), lines(ns))
		}
	})
}

// FuzzResolvConf is what others write into the host's file.
func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nnameserver fe80::1%eth0\noptions edns0\n# x")
	f.Fuzz(func(t *testing.T, text string) {
		list := ParseResolvConf(text)
		if len(list) > maxServers {
			t.Fatalf("%d servers", len(list))
		}
		for _, s := range list {
			if !s.IsValid() || s.Port() != DefaultPort {
				t.Fatalf("%v", s)
			}
		}
	})
}
