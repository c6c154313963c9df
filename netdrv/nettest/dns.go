package nettest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is an internet's name server: authoritative for everything, which is
// what a host's resolver looks like from a network behind it. It starts with:
//
//	www.example.org.    60 A     203.0.113.1
//	www.example.org.    60 AAAA  2001:db8:ff::1
//	alias.example.org.  60 CNAME www.example.org.
//	big.example.org.    60 TXT   2000 bytes, so over UDP it is truncated
//
// Every other name does not exist (NXDOMAIN), and existing names have nothing
// of other types; both with an SOA of "org." that lets them be remembered for
// 30 seconds.
type DNS struct {
	book *guestbook

	mu      sync.Mutex
	names   map[string][]dnsmessage.Resource // by lower-case name
	silent  bool
	refusal dnsmessage.RCode
}

func newDNS(book *guestbook) *DNS {
	d := &DNS{book: book, names: make(map[string][]dnsmessage.Resource)}
	for _, record := range []string{
		"www.example.org. 60 A 203.0.113.1",
		"www.example.org. 60 AAAA 2001:db8:ff::1",
		"alias.example.org. 60 CNAME www.example.org.",
		"big.example.org. 60 TXT " + strings.Repeat("big-", 500),
	} {
		if err := d.add(record); err != nil {
			panic(err)
		}
	}
	return d
}

// Add adds a record as a zone file has it, with a full name, a TTL and one of
// the types A, AAAA, CNAME, PTR and TXT (one word, split where it must be).
func (d *DNS) Add(t testing.TB, record string) {
	t.Helper()
	if err := d.add(record); err != nil {
		t.Fatalf("nettest: record %q: %v", record, err)
	}
}

func (d *DNS) add(record string) error {
	r, err := parseRecord(record)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	name := strings.ToLower(r.Header.Name.String())
	d.names[name] = append(d.names[name], r)
	return nil
}

// Remove makes a name unknown.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, strings.ToLower(name))
}

// Silence makes the server take questions and never answer, as one that is
// down behind a firewall does, or ends that.
func (d *DNS) Silence(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent = on
}

// Refuse makes the server answer everything with a code, such as 2 (SERVFAIL)
// or 5 (REFUSED); 0 ends that.
func (d *DNS) Refuse(rcode int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusal = dnsmessage.RCode(rcode)
}

func parseRecord(record string) (dnsmessage.Resource, error) {
	f := strings.Fields(record)
	if len(f) != 4 {
		return dnsmessage.Resource{}, fmt.Errorf("want name, TTL, type and value")
	}
	name, err := dnsmessage.NewName(f[0])
	if err != nil {
		return dnsmessage.Resource{}, err
	}
	ttl, err := strconv.ParseUint(f[1], 10, 32)
	if err != nil {
		return dnsmessage.Resource{}, err
	}
	body, err := parseValue(f[2], f[3])
	if err != nil {
		return dnsmessage.Resource{}, err
	}
	header := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: uint32(ttl)}
	return dnsmessage.Resource{Header: header, Body: body}, nil
}

func parseValue(kind, value string) (dnsmessage.ResourceBody, error) {
	switch kind {
	case "A", "AAAA":
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Is4() != (kind == "A") {
			return nil, fmt.Errorf("%s is no address of type %s", value, kind)
		}
		if kind == "A" {
			return &dnsmessage.AResource{A: addr.As4()}, nil
		}
		return &dnsmessage.AAAAResource{AAAA: addr.As16()}, nil
	case "CNAME", "PTR":
		target, err := dnsmessage.NewName(value)
		if err != nil {
			return nil, err
		}
		if kind == "CNAME" {
			return &dnsmessage.CNAMEResource{CNAME: target}, nil
		}
		return &dnsmessage.PTRResource{PTR: target}, nil
	case "TXT":
		var text []string
		for ; len(value) > 255; value = value[255:] {
			text = append(text, value[:255])
		}
		return &dnsmessage.TXTResource{TXT: append(text, value)}, nil
	}
	return nil, fmt.Errorf("type %s is not known here", kind)
}

func (d *DNS) servePackets(c net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, peer, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := d.answer(buf[:n], "udp dns", peer.(*net.UDPAddr).AddrPort()); answer != nil {
			_, _ = c.WriteTo(answer, peer)
		}
	}
}

func (d *DNS) serveStream(c net.Conn) {
	peer := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	var size [2]byte
	for {
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		answer := d.answer(question, "tcp dns", peer)
		if answer == nil {
			continue
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer returns nil where there is nothing to say.
func (d *DNS) answer(packet []byte, service string, peer netip.AddrPort) []byte {
	var q dnsmessage.Message
	if err := q.Unpack(packet); err != nil || q.Response || len(q.Questions) != 1 {
		return nil
	}
	question := q.Questions[0]
	d.book.add(service, peer, question.Name.String()+" "+strings.TrimPrefix(question.Type.String(), "Type"))

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.silent {
		return nil
	}
	a := dnsmessage.Message{Questions: q.Questions}
	a.ID, a.Response, a.RecursionDesired, a.RecursionAvailable = q.ID, true, q.RecursionDesired, true
	d.fillLocked(&a, question)
	text, err := a.Pack()
	if err != nil {
		return nil
	}
	if service == "udp dns" && len(text) > udpSize(&q) {
		a.Truncated, a.Answers, a.Authorities = true, nil, nil
		text, _ = a.Pack()
	}
	return text
}

// fillLocked puts the answer to a question into a message, following aliases.
func (d *DNS) fillLocked(a *dnsmessage.Message, q dnsmessage.Question) {
	if a.RCode = d.refusal; a.RCode != dnsmessage.RCodeSuccess {
		return
	}
	name, known, found := q.Name, true, false
	for range 8 {
		var alias dnsmessage.Name
		var records []dnsmessage.Resource
		records, known = d.names[strings.ToLower(name.String())]
		for _, r := range records {
			cname, isAlias := r.Body.(*dnsmessage.CNAMEResource)
			if typeOf(r.Body) != q.Type && !isAlias {
				continue
			}
			r.Header.Name = name // in the letters that were asked for
			a.Answers = append(a.Answers, r)
			if isAlias && q.Type != dnsmessage.TypeCNAME {
				alias = cname.CNAME
			} else {
				found = true
			}
		}
		if alias.Length == 0 {
			break
		}
		name = alias
	}
	if !known {
		a.RCode = dnsmessage.RCodeNameError
	}
	if !found {
		a.Authorities = []dnsmessage.Resource{soa()}
	}
}

func typeOf(body dnsmessage.ResourceBody) dnsmessage.Type {
	switch body.(type) {
	case *dnsmessage.AResource:
		return dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		return dnsmessage.TypeAAAA
	case *dnsmessage.CNAMEResource:
		return dnsmessage.TypeCNAME
	case *dnsmessage.PTRResource:
		return dnsmessage.TypePTR
	}
	return dnsmessage.TypeTXT
}

func soa() dnsmessage.Resource {
	org := dnsmessage.MustNewName("org.")
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: org, Class: dnsmessage.ClassINET, TTL: 30},
		Body: &dnsmessage.SOAResource{
			NS: dnsmessage.MustNewName("ns.org."), MBox: dnsmessage.MustNewName("hostmaster.org."),
			Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, MinTTL: 30,
		},
	}
}

// udpSize is what the asker can take in one datagram (RFC 6891 §6.2.3).
func udpSize(q *dnsmessage.Message) int {
	for _, r := range q.Additionals {
		if r.Header.Type == dnsmessage.TypeOPT {
			return max(512, int(r.Header.Class))
		}
	}
	return 512
}
