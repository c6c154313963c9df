package dnsd

import (
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/dnsd/wire"
)

// externalCNAME returns the external name that q's local name is an alias of, or nil.
// Without recursion the answer is the alias alone.
func (s *service) externalCNAME(q *wire.Query) []byte {
	if s.resolver == nil || q.Flags&wire.FlagRD == 0 {
		return nil
	}
	return s.zone.CNAMETarget(q)
}

// maxHops is how often the chain of aliases of an answer may change between local and external
// names.
const maxHops = 8

// localCNAME returns the first alias in an upstream's reply to q of a name of the
// network or its peers, or in the domain of another forwarder: as the number of records up
// to it, and the name. The upstream's records of that name are ignored. n is 0 if there
// is none.
func (s *service) localCNAME(q *wire.Query, msg []byte) (n int, target []byte) {
	if q.Type == wire.TypeCNAME {
		return 0, nil
	}
	return q.FindAlias(msg, func(name []byte) bool {
		return s.zone.Owns(name, q.Type) || s.resolver.Elsewhere(q.Lower(), name)
	})
}

// followCNAME answers q with the aliases of head, a reply, and the answer for next, the name
// that they lead to: stub resolvers do not resolve aliases. Its results are those of ask.
func (s *service) followCNAME(buf []byte, q *wire.Query, head func() []byte, next []byte, client forward.Client, reply func([]byte)) (out []byte, wait bool) {
	q = q.Clone()
	if q.Since.IsZero() {
		q.Since = time.Now()
	}
	if q.Hops == maxHops {
		return s.code(buf, q, wire.ServerFailure), false
	}
	target := q.For(next)
	tail, ask := s.query(nil, target)
	aliases := head() // valid only now
	if ask {
		tail, wait = s.ask(nil, target, client, func(msg []byte) {
			if msg != nil {
				msg = s.mergeAnswers(q, aliases, msg)
			}
			reply(msg)
		})
		if wait || len(tail) == 0 {
			return buf, wait
		}
	}
	return append(buf, s.mergeAnswers(q, aliases, tail)...), false
}

// mergeAnswers puts aliases before the answer for the last one, which determines the
// code (RFC 6604). It uses the general codec, as names have to be compressed again.
func (s *service) mergeAnswers(q *wire.Query, aliases, answer []byte) []byte {
	var head, tail dns.Msg
	if head.Unpack(aliases) != nil || tail.Unpack(answer) != nil {
		return s.code(nil, q, wire.ServerFailure)
	}
	private := func(rr dns.RR) bool {
		packed := make([]byte, dns.Len(rr))
		end, err := dns.PackRR(rr, packed, 0, nil, false)
		return err == nil && wire.NamesPrivate(rr.Header().Rrtype, packed[end-int(rr.Header().Rdlength):end])
	}
	if !head.Authoritative && s.resolver.Protects(q.Lower()) && slices.ContainsFunc(tail.Answer, private) {
		return s.code(nil, q, wire.Refused) // DNS rebinding, with an alias of a local name
	}
	head.Answer = append(head.Answer, tail.Answer...)
	head.Ns, head.Rcode, head.Truncated = tail.Ns, tail.Rcode, tail.Truncated
	head.AuthenticatedData = head.AuthenticatedData && tail.AuthenticatedData
	head.Compress = true
	head.Truncate(q.Max)
	if head.Truncated { // as in wire.Reply: all or none
		head.Answer, head.Ns = nil, nil
	}
	out, err := head.Pack()
	if err != nil {
		return s.code(nil, q, wire.ServerFailure)
	}
	return out
}
