package dnsd

import (
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/dnsd/wire"
)

// leadsOut returns the name outside that q's own name is an alias of, or nil.
// Who does not want recursion, or cannot have it, gets the alias alone.
func (s *service) leadsOut(q *wire.Query) []byte {
	if s.resolver == nil || q.Flags&wire.FlagRD == 0 {
		return nil
	}
	return s.zone.Beyond(q)
}

// maxHops is how often an answer may change between here and elsewhere.
const maxHops = 8

// leadsIn returns the first alias in an upstream's reply to q that leads to a name of the
// network or its peers, or to the domain of another forwarder: as the number of records up
// to it, and the name. What the upstream says of that name does not count. n is 0 if there
// is none.
func (s *service) leadsIn(q *wire.Query, msg []byte) (n int, target []byte) {
	if q.Type == wire.TypeCNAME {
		return 0, nil
	}
	return q.FindAlias(msg, func(name []byte) bool {
		return s.zone.Owns(name, q.Type) || s.resolver.Elsewhere(q.Lower(), name)
	})
}

// follow answers q with the aliases of near, a reply, and with what next, the name that
// they lead to, is answered with: stub resolvers do not follow by themselves. Its results
// are those of ask.
func (s *service) follow(buf []byte, q *wire.Query, near func() []byte, next []byte, client forward.Client, reply func([]byte)) (out []byte, wait bool) {
	q = q.Clone()
	if q.Since.IsZero() {
		q.Since = time.Now()
	}
	if q.Hops == maxHops {
		return s.code(buf, q, wire.ServerFailure), false
	}
	far := q.For(next)
	end, ask := s.query(nil, far)
	if ask {
		head := near() // valid only now
		end, wait = s.ask(nil, far, client, func(msg []byte) {
			if msg != nil {
				msg = s.splice(q, head, msg)
			}
			reply(msg)
		})
		if wait || len(end) == 0 {
			return buf, wait
		}
		return append(buf, s.splice(q, head, end)...), false
	}
	return append(buf, s.splice(q, near(), end)...), false
}

// own returns the zone's part of the answer to q.
func (s *service) own(q *wire.Query) []byte {
	whole := *q
	whole.Max = wire.MaxMessage
	near, _ := s.zone.Answer(nil, &whole)
	return near
}

// upTo returns the first n answers of a reply.
func upTo(msg []byte, n int) []byte {
	var m dns.Msg
	if m.Unpack(msg) != nil || len(m.Answer) < n {
		return nil
	}
	m.Answer, m.Ns = m.Answer[:n], nil
	m.Compress = true
	out, _ := m.Pack()
	return out
}

// splice puts the aliases of near before the rest of an answer, which determines the
// code of the whole (RFC 6604). It takes the general codec, as names are compressed anew.
func (s *service) splice(q *wire.Query, near, end []byte) []byte {
	var head, tail dns.Msg
	if head.Unpack(near) != nil || tail.Unpack(end) != nil {
		return s.code(nil, q, wire.ServerFailure)
	}
	if !head.Authoritative && s.resolver.Protects(q.Lower()) && slices.ContainsFunc(tail.Answer, private) {
		return s.code(nil, q, wire.Refused) // DNS rebinding, by way of a name of ours
	}
	head.Answer = append(head.Answer, tail.Answer...)
	head.Ns, head.Rcode, head.Truncated = tail.Ns, tail.Rcode, tail.Truncated
	head.AuthenticatedData = head.AuthenticatedData && tail.AuthenticatedData
	head.Compress = true
	head.Truncate(q.Max)
	if head.Truncated { // as wire.Reply: none, not some
		head.Answer, head.Ns = nil, nil
	}
	out, err := head.Pack()
	if err != nil {
		return s.code(nil, q, wire.ServerFailure)
	}
	return out
}

// private reports whether a record names a private address.
func private(rr dns.RR) bool {
	packed := make([]byte, dns.Len(rr))
	end, err := dns.PackRR(rr, packed, 0, nil, false)
	return err == nil && wire.NamesPrivate(rr.Header().Rrtype, packed[end-int(rr.Header().Rdlength):end])
}
