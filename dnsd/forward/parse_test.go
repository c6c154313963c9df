package forward

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

func rrs(t testing.TB, lines ...string) (list []dns.RR) {
	t.Helper()
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rr)
	}
	return list
}

// received is what clients get of an upstream's reply to www.example.org.
func received(t *testing.T, change func(*dns.Msg)) (*dns.Msg, error) {
	t.Helper()
	q := query(t, "www.example.org.")
	m := new(dns.Msg)
	if err := m.Unpack(wire.AppendQuery(nil, 9, q.Key(), true)); err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg).SetReply(m)
	r.Compress = true
	change(r)
	b, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	msg, err := parse(b, 9, q.Key())
	if err != nil {
		return nil, err
	}
	got := new(dns.Msg)
	if err := got.Unpack(msg.AppendReply(nil, q, 0)); err != nil {
		t.Fatal(err)
	}
	return got, nil
}

func lines(list []dns.RR) string {
	var out []string
	for _, rr := range list {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	return strings.Join(out, "\n")
}

const sig = " 60 IN RRSIG A 8 3 60 20300101000000 20200101000000 1 example.org. AAAA"

// Each case is what upstream says, and what is left of it.
func TestOnlyWhatIsAboutTheQuestionPasses(t *testing.T) {
	alias := []string{"www.example.org. 60 IN CNAME a.example.net.", "a.example.net. 60 IN A 192.0.2.1"}
	soa := "example.org. 60 IN SOA ns.example.org. h.example.org. 1 2 3 4 60"
	for name, c := range map[string]struct{ answer, ns, wantAnswer, wantNS []string }{
		"plain":                  {answer: []string{"WWW.example.org. 60 IN A 192.0.2.1"}, wantAnswer: []string{"www.example.org. 60 IN A 192.0.2.1"}},
		"an alias":               {answer: alias, wantAnswer: alias},
		"signatures":             {answer: []string{alias[0], "www.example.org." + sig, alias[1], "a.example.net." + sig}, wantAnswer: []string{alias[0], "www.example.org." + sig, alias[1], "a.example.net." + sig}},
		"an alias out of order":  {answer: []string{alias[1], alias[0]}, wantAnswer: alias},
		"a stranger between":     {answer: []string{alias[0], "bank.example. 60 IN A 192.0.2.66", alias[1]}, wantAnswer: alias},
		"a stranger's alias":     {answer: []string{"bank.example. 60 IN CNAME www.example.org.", "www.example.org. 60 IN A 192.0.2.1"}, wantAnswer: []string{"www.example.org. 60 IN A 192.0.2.1"}},
		"a circle":               {answer: []string{"www.example.org. 60 IN CNAME a.example.net.", "a.example.net. 60 IN CNAME www.example.org."}, wantAnswer: []string{"www.example.org. 60 IN CNAME a.example.net.", "a.example.net. 60 IN CNAME www.example.org."}},
		"a DNAME above":          {answer: []string{"example.org. 60 IN DNAME example.net.", "www.example.org. 60 IN CNAME www.example.net.", "www.example.net. 60 IN A 192.0.2.1"}, wantAnswer: []string{"example.org. 60 IN DNAME example.net.", "www.example.org. 60 IN CNAME www.example.net.", "www.example.net. 60 IN A 192.0.2.1"}},
		"a DNAME elsewhere":      {answer: []string{"example.com. 60 IN DNAME example.net.", "www.example.org. 60 IN A 192.0.2.1"}, wantAnswer: []string{"www.example.org. 60 IN A 192.0.2.1"}},
		"the zone's authority":   {ns: []string{soa, "example.org. 60 IN NS ns.example.net.", "x.example.org. 60 IN NSEC z.example.org. A"}, wantNS: []string{soa, "example.org. 60 IN NS ns.example.net.", "x.example.org. 60 IN NSEC z.example.org. A"}},
		"others' authority":      {ns: []string{soa, "example.com. 60 IN NS ns.evil.example."}, wantNS: []string{soa}},
		"a neighbour's":          {ns: []string{"xexample.org. 60 IN NS ns.evil.example.", "mail.example.org. 60 IN NS ns.evil.example."}},
		"the authority of alias": {answer: alias, ns: []string{"example.net. 60 IN NS ns.example.net."}, wantAnswer: alias, wantNS: []string{"example.net. 60 IN NS ns.example.net."}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := received(t, func(m *dns.Msg) {
				m.Answer, m.Ns = rrs(t, c.answer...), rrs(t, c.ns...)
				m.Extra = rrs(t, "ns.evil.example. 60 IN A 192.0.2.66")
				m.SetEdns0(1232, false)
				m.Extra = append(m.Extra, rrs(t, "ns.example.net. 60 IN A 192.0.2.67")...)
			})
			if err != nil {
				t.Fatal(err)
			}
			if lines(got.Answer) != lines(rrs(t, c.wantAnswer...)) {
				t.Errorf("answer\n%s\nwant\n%s", lines(got.Answer), strings.Join(c.wantAnswer, "\n"))
			}
			if lines(got.Ns) != lines(rrs(t, c.wantNS...)) {
				t.Errorf("authority\n%s\nwant\n%s", lines(got.Ns), strings.Join(c.wantNS, "\n"))
			}
			if len(got.Extra) != 0 {
				t.Errorf("additional\n%s", lines(got.Extra))
			}
		})
	}
}

func TestTooManyAliasesAreNoAnswer(t *testing.T) {
	if _, err := received(t, func(m *dns.Msg) {
		for i := range 40 {
			from := "a" + strings.Repeat("x", i) + "."
			if i == 0 {
				from = "www.example.org."
			}
			m.Answer = append(m.Answer, rrs(t, from+" 60 IN CNAME a"+strings.Repeat("x", i+1)+".")...)
		}
	}); err == nil {
		t.Error("taken")
	}
}
