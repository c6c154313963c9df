package dnsd

import (
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

// follow answers q with its aliases and with what next, the name that they lead
// to, is answered with: stub resolvers do not follow by themselves. Its results
// are those of ask.
func (s *service) follow(buf []byte, q *wire.Query, next []byte, client forward.Client, reply func([]byte)) (out []byte, wait bool) {
	q = q.Clone()
	far := q.For(next)
	end, ask := s.query(nil, far)
	if !ask {
		return append(buf, s.splice(q, end)...), false
	}
	end, wait = s.ask(nil, far, client, func(msg []byte) {
		if msg != nil {
			msg = s.splice(q, msg)
		}
		reply(msg)
	})
	if wait || len(end) == 0 {
		return buf, wait
	}
	return append(buf, s.splice(q, end)...), false
}

// splice puts the zone's part of an answer before the rest of it, whose code is
// that of the whole (RFC 6604). It takes the general codec, as names are
// compressed anew.
func (s *service) splice(q *wire.Query, end []byte) []byte {
	whole := *q
	whole.Max = wire.MaxMessage
	near, _ := s.zone.Answer(nil, &whole)
	var head, tail dns.Msg
	if head.Unpack(near) != nil || tail.Unpack(end) != nil {
		return s.code(nil, q, wire.ServerFailure)
	}
	head.Answer = append(head.Answer, tail.Answer...)
	head.Ns, head.Rcode, head.Truncated = tail.Ns, tail.Rcode, tail.Truncated
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
