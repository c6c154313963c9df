package forward

import (
	"errors"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// parse reads a reply. The few with records out of order, or about other names, are
// repaired with the general codec: names may point into a
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
	if errors.Is(err, wire.ErrShape) { // too many aliases
		err = wire.ErrMalformed
	}
	return m, err
}

// tidy keeps the records of the question's chain of aliases, in its
// order, and of the authority those of zones that these names are in.
func tidy(msg *dns.Msg) {
	chain := []string{strings.ToLower(msg.Question[0].Name)}
	var answer []dns.RR
	taken := make([]bool, len(msg.Answer))
	for i := 0; i < min(len(chain), wire.MaxChain); i++ {
		for n, rr := range msg.Answer {
			belongs := strings.EqualFold(rr.Header().Name, chain[i])
			if sig, ok := rr.(*dns.RRSIG); rr.Header().Rrtype == dns.TypeDNAME || ok && sig.TypeCovered == dns.TypeDNAME {
				belongs = dns.IsSubDomain(rr.Header().Name, chain[i]) // of all names below it
			}
			if taken[n] || !belongs {
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
	msg.Ns = slices.DeleteFunc(msg.Ns, func(rr dns.RR) bool {
		switch rr.Header().Rrtype {
		case dns.TypeNSEC, dns.TypeNSEC3, dns.TypeRRSIG:
			return false
		}
		return !slices.ContainsFunc(chain, func(name string) bool { return dns.IsSubDomain(rr.Header().Name, name) })
	})
	msg.Extra = slices.DeleteFunc(msg.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT })
}
