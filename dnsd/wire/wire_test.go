package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// query packs a message with the general codec.
func query(t testing.TB, name string, qtype uint16, change ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.Id = 0x1234
	for _, f := range change {
		f(m)
	}
	return pack(t, m)
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unpack(t testing.TB, b []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("unpack %x: %v", b, err)
	}
	return m
}

func edns(size uint16, do bool) func(*dns.Msg) {
	return func(m *dns.Msg) { m.SetEdns0(size, do) }
}

func parsed(t testing.TB, pkt []byte) *Query {
	t.Helper()
	q := new(Query)
	if got := Parse(pkt, q); got != OK {
		t.Fatalf("Parse(%x) = %d, want OK", pkt, got)
	}
	return q
}

func records(t testing.TB, lines ...string) []dns.RR {
	t.Helper()
	var list []dns.RR
	for _, l := range lines {
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rr)
	}
	return list
}

func TestParseReadsAPlainQuery(t *testing.T) {
	q := parsed(t, query(t, "WeB.Lab.test.", dns.TypeAAAA, edns(4096, true)))
	switch {
	case q.ID != 0x1234, q.Type != TypeAAAA, q.Class != ClassIN, !q.EDNS, !q.DO:
		t.Errorf("got %+v", q)
	case string(q.Name) != "\x03WeB\x03Lab\x04test\x00":
		t.Errorf("name %q", q.Name)
	case string(q.Lower()) != "\x03web\x03lab\x04test\x00":
		t.Errorf("lower %q", q.Lower())
	case q.Max != MaxPayload:
		t.Errorf("max %d", q.Max)
	}
}

func TestParseLimitsThePayload(t *testing.T) {
	for size, want := range map[uint16]int{0: 512, 100: 512, 512: 512, 900: 900, 1232: 1232, 65535: 1232} {
		if q := parsed(t, query(t, "a.", dns.TypeA, edns(size, false))); q.Max != want {
			t.Errorf("client takes %d: Max = %d, want %d", size, q.Max, want)
		}
	}
	if q := parsed(t, query(t, "a.", dns.TypeA)); q.Max != 512 {
		t.Errorf("without EDNS: Max = %d", q.Max)
	}
}

func TestParseOutcomes(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	longest := strings.Repeat(label63+".", 3) + strings.Repeat("b", 61) + "." // 255 bytes
	plain := query(t, "web.lab.test.", dns.TypeA)
	set := func(at int, to byte) []byte {
		b := bytes.Clone(plain)
		b[at] = to
		return b
	}
	raw := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const header = "1234 0100 0001 0000 0000 0000 "
	cases := []struct {
		name string
		pkt  []byte
		want ParseResult
	}{
		{"plain", plain, OK},
		{"the longest name", query(t, longest, dns.TypeA), OK},
		{"the root", query(t, ".", dns.TypeNS), OK},
		{"with EDNS", query(t, "a.", dns.TypeA, edns(1232, false)), OK},
		{"empty", nil, Drop},
		{"eleven bytes", plain[:11], Drop},
		{"a reply", set(2, 0x81), Drop},
		{"NOTIFY", set(2, 0x21), NotQuery},
		{"UPDATE", set(2, 0x29), NotQuery},
		{"no question", set(5, 0), BadCount},
		{"two questions", set(5, 2), BadCount},
		{"header only, a question promised", plain[:12], BadCount},
		{"an answer promised", set(7, 1), Unsupported},
		{"an authority promised", set(9, 1), Unsupported},
		{"an additional record promised", set(11, 1), Unsupported},
		{"a byte behind", append(bytes.Clone(plain), 0), Unsupported},
		{"type cut", plain[:len(plain)-1], BadCount},
		{"a label of 64", raw(header + "40" + strings.Repeat("61", 64) + "00 0001 0001"), BadCount},
		{"a pointer to itself", raw(header + "c00c 0001 0001"), BadCount},
		{"a pointer into the header", raw(header + "0161 c000 0001 0001"), BadCount},
		{"a name of 256 bytes", raw(header + strings.Repeat("01 61", 127) + "01 61 00 0001 0001"), BadCount},
		{"a name without end", raw(header + strings.Repeat("01 61", 300)), BadCount},
		{"an option longer than its record", append(query(t, "a.", dns.TypeA, edns(1232, false))[:27], 0, 4, 0, 10, 0, 9), Unsupported},
		{"signed", query(t, "a.", dns.TypeA, edns(1232, false), func(m *dns.Msg) { m.SetTsig("k.", dns.HmacSHA256, 300, 0) }), Unsupported},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Parse(c.pkt, new(Query)); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestReplyIsReadByTheGeneralCodec(t *testing.T) {
	q := parsed(t, query(t, "WEB.lab.test.", dns.TypeA, edns(1232, true), func(m *dns.Msg) { m.CheckingDisabled = true }))
	r := Begin([]byte("before"), q, Success, FlagAA|FlagRA)
	r.Answer(0, TypeA, 60, []byte{192, 0, 2, 1})
	r.Authority(4, TypeNS, 60, []byte("\x02ns\x00"))
	out := r.End()
	m := unpack(t, out[len("before"):])
	want := "WEB.lab.test.\t60\tIN\tA\t192.0.2.1"
	if len(m.Answer) != 1 || m.Answer[0].String() != want {
		t.Errorf("answer %v, want %s", m.Answer, want)
	}
	if len(m.Ns) != 1 || m.Ns[0].Header().Name != "lab.test." {
		t.Errorf("authority %v", m.Ns)
	}
	if !m.Authoritative || !m.RecursionAvailable || !m.RecursionDesired || !m.CheckingDisabled || !m.Response || m.Id != 0x1234 {
		t.Errorf("header %+v", m.MsgHdr)
	}
	if o := m.IsEdns0(); o == nil || !o.Do() || o.UDPSize() != MaxPayload {
		t.Errorf("OPT %v", o)
	}
}

func TestReplyTooLongIsTruncated(t *testing.T) {
	for _, withEDNS := range []bool{false, true} {
		change := func(*dns.Msg) {}
		if withEDNS {
			change = edns(600, false)
		}
		q := parsed(t, query(t, "web.lab.test.", dns.TypeA, change))
		r := Begin(nil, q, Success, FlagAA)
		for range 40 {
			r.Answer(0, TypeA, 60, []byte{192, 0, 2, 1})
		}
		m := unpack(t, r.End())
		if !m.Truncated || len(m.Answer) != 0 || len(m.Question) != 1 || (m.IsEdns0() != nil) != withEDNS {
			t.Errorf("EDNS %v: %v", withEDNS, m)
		}
	}
}

func TestReplyFillsThePayloadToTheLastByte(t *testing.T) {
	q := parsed(t, query(t, "web.lab.test.", dns.TypeA, edns(512, false)))
	rest := 512 - optLen - (HeaderLen + len(q.Name) + 4) - 12
	for extra, tc := range map[int]bool{0: false, 1: true} {
		r := Begin(nil, q, Success, 0)
		r.Answer(0, 99, 60, make([]byte, rest+extra))
		if out := r.End(); out[2]&2 != 0 != tc || !tc && len(out) != 512 {
			t.Errorf("%d bytes over: TC %v, %d bytes", extra, out[2]&2 != 0, len(out))
		}
	}
}

func TestBadVersionIsSaidInTheOPTRecord(t *testing.T) {
	q := parsed(t, query(t, "a.", dns.TypeA, edns(1232, false)))
	r := Begin(nil, q, BadVersion, 0)
	m := unpack(t, r.End())
	if m.Rcode != dns.RcodeBadVers {
		t.Errorf("rcode %d, want %d", m.Rcode, dns.RcodeBadVers)
	}
}

func TestErrorHasTheHeaderOnly(t *testing.T) {
	m := unpack(t, AppendError(nil, 7, 0x2800|FlagRD|FlagCD, NotImplemented))
	if m.Id != 7 || m.Opcode != dns.OpcodeUpdate || m.Rcode != dns.RcodeNotImplemented || !m.Response || m.RecursionDesired || m.CheckingDisabled {
		t.Errorf("%+v", m.MsgHdr)
	}
}

func TestQueryForUpstream(t *testing.T) {
	q := parsed(t, query(t, "WEB.Example.ORG.", dns.TypeMX, edns(512, true), func(m *dns.Msg) { m.CheckingDisabled = true }))
	m := unpack(t, AppendQuery(nil, 99, q.Key(), true))
	if m.Id != 99 || !m.RecursionDesired || !m.AuthenticatedData || !m.CheckingDisabled || m.Response {
		t.Errorf("header %+v", m.MsgHdr)
	}
	if m.Question[0] != (dns.Question{Name: "web.example.org.", Qtype: dns.TypeMX, Qclass: dns.ClassINET}) {
		t.Errorf("question %+v", m.Question[0])
	}
	if o := m.IsEdns0(); o == nil || !o.Do() || o.UDPSize() != MaxPayload {
		t.Errorf("OPT %v", o)
	}
	if m := unpack(t, AppendQuery(nil, 1, q.Key(), false)); m.IsEdns0() != nil {
		t.Error("OPT record though none was asked for")
	}
}

// reply makes an upstream's reply to q.
func reply(t testing.TB, q *Query, id uint16, change func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetReply(unpack(t, AppendQuery(nil, id, q.Key(), true)))
	m.RecursionAvailable, m.Compress = true, true
	change(m)
	return pack(t, m)
}

const soaLine = "example.org. 900 IN SOA ns.example.org. h.example.org. 1 2 3 4 300"

func TestMessageLife(t *testing.T) {
	q := parsed(t, query(t, "www.example.org.", dns.TypeA))
	cases := []struct {
		name       string
		code       int
		truncated  bool
		answer, ns []string
		want       time.Duration
	}{
		{name: "shortest TTL", answer: []string{"www.example.org. 60 IN CNAME x.example.org.", "x.example.org. 30 IN A 192.0.2.1"}, want: 30 * time.Second},
		{name: "a day at most", answer: []string{"www.example.org. 604800 IN A 192.0.2.1"}, want: MaxLife},
		{name: "TTL 0", answer: []string{"www.example.org. 0 IN A 192.0.2.1"}, want: 0},
		{name: "TTL with the top bit", answer: []string{"www.example.org. 2147483648 IN A 192.0.2.1"}, want: 0},
		{name: "no such name: SOA minimum", code: NameError, ns: []string{soaLine}, want: 300 * time.Second},
		{name: "no data: SOA TTL", ns: []string{"example.org. 20 IN SOA a. b. 1 2 3 4 300"}, want: 20 * time.Second},
		{name: "negative, three hours at most", code: NameError, ns: []string{"example.org. 99999 IN SOA a. b. 1 2 3 4 99999"}, want: MaxNegativeLife},
		{name: "alias to nothing", answer: []string{"www.example.org. 60 IN CNAME x.example.org."}, ns: []string{soaLine}, want: 60 * time.Second},
		{name: "negative without SOA", code: NameError, want: 0},
		{name: "no data without SOA", want: 0},
		{name: "SERVFAIL", code: ServerFailure, want: FailureLife},
		{name: "REFUSED", code: Refused, ns: []string{soaLine}, want: FailureLife},
		{name: "truncated", truncated: true, answer: []string{"www.example.org. 60 IN A 192.0.2.1"}, want: 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			pkt := reply(t, q, 5, func(m *dns.Msg) {
				m.Rcode, m.Truncated = c.code, c.truncated
				m.Answer, m.Ns = records(t, c.answer...), records(t, c.ns...)
			})
			m, err := ParseMessage(pkt, 5, q.Key())
			if err != nil {
				t.Fatal(err)
			}
			if m.Life() != c.want {
				t.Errorf("life %v, want %v", m.Life(), c.want)
			}
		})
	}
}

func TestMessageBecomesEachClientsReply(t *testing.T) {
	asked := parsed(t, query(t, "www.example.org.", dns.TypeA, edns(1232, false)))
	pkt := reply(t, asked, 5, func(m *dns.Msg) {
		m.Authoritative, m.AuthenticatedData = true, true
		m.Answer = records(t, "www.example.org. 60 IN A 192.0.2.1")
		m.Extra = records(t, "ns.example.org. 10 IN A 192.0.2.2")
		m.SetEdns0(4096, false)
	})
	m, err := ParseMessage(pkt, 5, asked.Key())
	if err != nil || !m.EDNS() {
		t.Fatal(m, err)
	}
	q := parsed(t, query(t, "WWW.Example.Org.", dns.TypeA))
	got := unpack(t, m.AppendReply(nil, q, 20))
	if got.Id != 0x1234 || got.Question[0].Name != "WWW.Example.Org." {
		t.Errorf("id %x, question %v: want the client's", got.Id, got.Question)
	}
	if ttl := got.Answer[0].Header().Ttl; ttl != 40 {
		t.Errorf("TTL %d after 20 s of 60", ttl)
	}
	if len(got.Extra) != 0 {
		t.Errorf("additional records, which nobody asked for: %v", got.Extra)
	}
	if got.Authoritative || got.AuthenticatedData || got.IsEdns0() != nil || !got.RecursionAvailable {
		t.Errorf("AA, AD or OPT for a client that did not ask: %v", got)
	}
	q = parsed(t, query(t, "www.example.org.", dns.TypeA, edns(1232, false), func(m *dns.Msg) { m.AuthenticatedData = true }))
	if got := unpack(t, m.AppendReply(nil, q, 0)); !got.AuthenticatedData || got.IsEdns0() == nil {
		t.Errorf("AD or OPT lost: %v", got)
	}
}

func TestNegativeSOAIsCountedDownFromTheMinimum(t *testing.T) {
	q := parsed(t, query(t, "www.example.org.", dns.TypeA))
	m, err := ParseMessage(reply(t, q, 5, func(m *dns.Msg) {
		m.Rcode, m.Ns = NameError, records(t, soaLine)
	}), 5, q.Key())
	if err != nil {
		t.Fatal(err)
	}
	if ttl := unpack(t, m.AppendReply(nil, q, 100)).Ns[0].Header().Ttl; ttl != 200 {
		t.Errorf("TTL %d after 100 s of min(900, 300)", ttl)
	}
}

func TestParseMessageRefusesForgeries(t *testing.T) {
	q := parsed(t, query(t, "www.example.org.", dns.TypeA))
	good := func(m *dns.Msg) { m.Answer = records(t, "www.example.org. 60 IN A 192.0.2.1") }
	other := parsed(t, query(t, "www.example.net.", dns.TypeA))
	aaaa := parsed(t, query(t, "www.example.org.", dns.TypeAAAA))
	for name, pkt := range map[string][]byte{
		"another id":       reply(t, q, 6, good),
		"another name":     reply(t, other, 5, good),
		"another type":     reply(t, aaaa, 5, good),
		"a query":          AppendQuery(nil, 5, q.Key(), true),
		"no question":      reply(t, q, 5, func(m *dns.Msg) { m.Question = nil }),
		"nothing":          nil,
		"half the message": reply(t, q, 5, good)[:20],
	} {
		if _, err := ParseMessage(pkt, 5, q.Key()); err != ErrMismatch {
			t.Errorf("%s: %v, want ErrMismatch", name, err)
		}
	}
	pkt := reply(t, q, 5, good)
	if _, err := ParseMessage(pkt[:len(pkt)-1], 5, q.Key()); err != ErrMalformed {
		t.Errorf("a byte short: %v, want ErrMalformed", err)
	}
}

func TestExtendedCodesBecomeFailures(t *testing.T) {
	q := parsed(t, query(t, "www.example.org.", dns.TypeA))
	m, err := ParseMessage(reply(t, q, 5, func(m *dns.Msg) {
		m.SetEdns0(1232, false)
		m.Rcode = dns.RcodeBadVers
	}), 5, q.Key())
	if err != nil || m.Code() != ServerFailure {
		t.Errorf("%v, %v", m, err)
	}
}

func TestUnderComparesLabels(t *testing.T) {
	for _, c := range []struct {
		name, zone string
		want       bool
	}{
		{"\x03web\x03lab\x04test\x00", "\x03lab\x04test\x00", true},
		{"\x03lab\x04test\x00", "\x03lab\x04test\x00", true},
		{"\x04xlab\x04test\x00", "\x03lab\x04test\x00", false},
		{"\x08x\x03lab\x04tes\x01t\x00", "\x03lab\x04test\x00", false},
		{"\x0dx\x03lab\x04testxxx\x00", "\x03lab\x04test\x00", false},
		{"\x04test\x00", "\x03lab\x04test\x00", false},
		{"\x00", "\x03lab\x04test\x00", false},
		{"\x03web\x00", "", false},
	} {
		if _, got := Under([]byte(c.name), []byte(c.zone)); got != c.want {
			t.Errorf("%q under %q: %v", c.name, c.zone, got)
		}
	}
}

func TestName(t *testing.T) {
	for text, want := range map[string]string{
		"": "\x00", ".": "\x00", "Web": "\x03web\x00", "a.B.": "\x01a\x01b\x00", "_x-1": "\x04_x-1\x00",
	} {
		if got, err := Name(text); err != nil || string(got) != want {
			t.Errorf("Name(%q) = %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"a..b", ".a", "a b", "ä", strings.Repeat("a", 64), strings.Repeat("aa.", 90), "a\x00b", "a.."} {
		if got, err := Name(text); err == nil {
			t.Errorf("Name(%q) = %q, want an error", text, got)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	pkt := query(t, "web.lab.test.", dns.TypeA, edns(1232, true))
	q, buf := new(Query), make([]byte, 0, 512)
	got := testing.AllocsPerRun(100, func() {
		Parse(pkt, q)
		r := Begin(buf[:0], q, Success, FlagAA)
		r.Answer(0, TypeA, 60, []byte{192, 0, 2, 1})
		r.End()
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// A TTL of years is given out as that of a day (RFC 8767 section 4), one with the top bit
// as 0 (RFC 2181 section 8), in every section.
func TestTTLsAreCapped(t *testing.T) {
	q := parsed(t, query(t, "www.example.org.", dns.TypeA))
	for ttl, want := range map[uint32]uint32{1<<31 - 1: 86400, 86401: 86400, 86400: 86400, 60: 60, 1 << 31: 0, 1<<32 - 1: 0} {
		pkt := reply(t, q, 5, func(m *dns.Msg) {
			m.Answer = records(t, "www.example.org. 1 IN A 192.0.2.1")
			m.Ns = records(t, "example.org. 1 IN NS ns.example.org.")
			m.Answer[0].Header().Ttl, m.Ns[0].Header().Ttl = ttl, ttl
		})
		m, err := ParseMessage(pkt, 5, q.Key())
		if err != nil {
			t.Fatal(err)
		}
		got := unpack(t, m.AppendReply(nil, q, 0))
		if a, ns := got.Answer[0].Header().Ttl, got.Ns[0].Header().Ttl; a != want || ns != want {
			t.Errorf("%d: %d and %d, want %d", ttl, a, ns, want)
		}
	}
}

// An upstream's extended error is passed on with its text, cut and printable, to clients
// with EDNS, and where it fits.
func TestExtendedErrorIsPassedOn(t *testing.T) {
	q := parsed(t, query(t, "www.example.org.", dns.TypeA, edns(1232, false)))
	plain := parsed(t, query(t, "www.example.org.", dns.TypeA))
	for text, want := range map[string]string{
		"signature expired": "signature expired", "": "", "\x1b[31m\x00ü": "?[31m???", strings.Repeat("x", 300): strings.Repeat("x", maxErrorText),
	} {
		m, err := ParseMessage(reply(t, q, 5, func(m *dns.Msg) {
			m.Rcode = dns.RcodeServerFailure
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_PADDING{Padding: make([]byte, 9)}, &dns.EDNS0_EDE{InfoCode: 7, ExtraText: text})
		}), 5, q.Key())
		if err != nil {
			t.Fatal(err)
		}
		opt := unpack(t, m.AppendReply(nil, q, 0)).IsEdns0()
		if len(opt.Option) != 1 || opt.Option[0].(*dns.EDNS0_EDE).InfoCode != 7 || opt.Option[0].(*dns.EDNS0_EDE).ExtraText != want {
			t.Errorf("%q: %v", text, opt)
		}
		if got := unpack(t, m.AppendReply(nil, plain, 0)); got.IsEdns0() != nil {
			t.Errorf("without EDNS: %v", got)
		}
		small := *q
		small.Max = q.questionEnd() + optLen + 3
		if b := m.AppendReply(nil, &small, 0); len(b) > small.Max || len(unpack(t, b).IsEdns0().Option) != 0 {
			t.Errorf("%d octets where %d fit", len(b), small.Max)
		}
	}
	for want, m := range map[uint16]*Message{22: Failure(q.Key()), 14: Refusal(q.Key()), 15: Blocked(q.Key())} {
		if opt := unpack(t, m.AppendReply(nil, q, 0)).IsEdns0(); opt.Option[0].(*dns.EDNS0_EDE).InfoCode != want {
			t.Errorf("%v, want %d", opt, want)
		}
	}
	if opt := unpack(t, Failure(q.Key()).AppendStale(nil, q)).IsEdns0(); opt.Option[0].(*dns.EDNS0_EDE).InfoCode != 3 {
		t.Error(opt)
	}
}
