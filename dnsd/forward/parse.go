package forward

import (
	"errors"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// parse reads a reply. The few whose records are out of order, or speak of what
// nobody asked, are put right by the general codec: names may point behind a
// record that has to go, and only the codec knows where in the data of all
// types there are names.
func parse(pkt []byte, id uint16, key []byte) (*wire.Message, error) {
	m, err := wire.ParseMessage(pkt, id, key)
	if !errors.Is(err, wire.ErrShape) {
		return m, err
	}
	var msg dns.Msg
	if msg.Unpack(pkt) != nil || len(msg.Question) != 1 {
		return nil, wire.ErrMalformed
	}
	tidy(&msg)
	if pkt, err = msg.Pack(); err != nil {
		return nil, wire.ErrMalformed
	}
	m, err = wire.ParseMessage(pkt, id, key)
	if errors.Is(err, wire.ErrShape) { // more aliases than anybody follows
		err = wire.ErrMalformed
	}
	return m, err
}

// tidy keeps of a reply the records of the question's chain of aliases, in its
// order, and of the authority what is about zones that they are in.
func tidy(msg *dns.Msg) {
	chain := []string{strings.ToLower(msg.Question[0].Name)}
	var answer []dns.RR
	taken := make([]bool, len(msg.Answer))
	for i := 0; i < min(len(chain), wire.MaxChain); i++ {
		for n, rr := range msg.Answer {
			if taken[n] || !about(rr, chain[i]) {
				continue
			}
			taken[n] = true
			answer = append(answer, rr)
			if c, ok := rr.(*dns.CNAME); ok && msg.Question[0].Qtype != dns.TypeCNAME && !slices.Contains(chain, strings.ToLower(c.Target)) {
				chain = append(chain, strings.ToLower(c.Target))
			}
		}
	}
	msg.Answer, msg.Compress = answer, true
	msg.Ns = slices.DeleteFunc(msg.Ns, func(rr dns.RR) bool { return !beside(rr, chain) })
	msg.Extra = slices.DeleteFunc(msg.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT })
}

// about reports whether a record of the answer is about name: DNAME and its
// signature about all below theirs.
func about(rr dns.RR, name string) bool {
	sig, signed := rr.(*dns.RRSIG)
	if rr.Header().Rrtype == dns.TypeDNAME || signed && sig.TypeCovered == dns.TypeDNAME {
		return dns.IsSubDomain(rr.Header().Name, name)
	}
	return strings.EqualFold(rr.Header().Name, name)
}

func beside(rr dns.RR, chain []string) bool {
	switch rr.Header().Rrtype {
	case dns.TypeNSEC, dns.TypeNSEC3, dns.TypeRRSIG:
		return true
	}
	return slices.ContainsFunc(chain, func(name string) bool { return dns.IsSubDomain(rr.Header().Name, name) })
}
