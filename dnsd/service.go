package dnsd

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/dnsd/zone"
)

// A service answers for one network. It is immutable: a change of
// configuration swaps it for another.
type service struct {
	zone     *zone.Zone
	resolver *forward.Resolver // nil: nothing is forwarded
	counts   *counts
}

// packet appends the reply to a packet, or reports that ask has to be called with q. Without
// a reply buf is returned unchanged. limit is the longest reply, or 0 for the limit of UDP.
func (s *service) packet(buf, pkt []byte, q *wire.Query, limit int) (out []byte, ask bool) {
	outcome := wire.Parse(pkt, q)
	if outcome == wire.Unsupported {
		outcome = normalize(pkt, q)
	}
	if outcome != wire.OK {
		s.counts.query(Malformed)
	}
	switch outcome {
	case wire.Drop:
		return buf, false
	case wire.NotQuery:
		return wire.AppendError(buf, q.ID, q.Flags, wire.NotImplemented), false
	case wire.BadCount, wire.Unsupported:
		return wire.AppendError(buf, q.ID, q.Flags, wire.FormatError), false
	}
	if limit != 0 {
		q.Max = limit
	}
	return s.query(buf, q)
}

func (s *service) query(buf []byte, q *wire.Query) (out []byte, ask bool) {
	switch {
	case q.Version != 0:
		s.counts.query(Malformed)
		return s.code(buf, q, wire.BadVersion), false
	case q.Class != wire.ClassIN || q.Type == 0 || q.Type == wire.TypeOPT || q.Type >= 128 && q.Type <= 254: // meta types, RFC 6895 §3.1; ANY is 255
		s.counts.query(Refused)
		return s.code(buf, q, wire.Refused), false
	}
	if s.externalCNAME(q) != nil {
		return buf, true
	}
	if out, ok := s.zone.Answer(buf, q); ok {
		s.counts.query(Local)
		return out, false
	}
	if s.resolver == nil || !s.resolver.Routed(q.Lower()) && !s.zone.Shares(q.Lower()) {
		if out, ok := zone.Special(buf, q); ok {
			s.counts.query(Local)
			return out, false
		}
	}
	switch {
	case s.resolver == nil || q.Flags&wire.FlagRD == 0: // without RD it would query our cache
		s.counts.query(Refused)
		return s.code(buf, q, wire.Refused), false
	case q.Type == wire.TypeANY:
		s.counts.query(Refused)
		return zone.Any(buf, q), false
	}
	out, ok := s.resolver.Cached(buf, q, time.Now())
	if !ok {
		return buf, true
	}
	s.counts.query(Cached)
	if n, _ := s.localCNAME(q, out[len(buf):]); n > 0 {
		return buf, true // ask resolves it
	}
	return out, false
}

// ask sends q upstream, and reports whether reply will be called: with
// the reply, or with nil when there is none. Otherwise ask
// appends the reply; without one buf is returned unchanged.
func (s *service) ask(buf []byte, q *wire.Query, client forward.Client, reply func([]byte)) (out []byte, wait bool) {
	if next := s.externalCNAME(q); next != nil {
		return s.followCNAME(buf, q, func() []byte {
			whole := *q
			whole.Max = wire.MaxMessage
			local, _ := s.zone.Answer(nil, &whole)
			return local
		}, next, client, reply)
	}
	q = q.Clone()
	if msg, ok := s.resolver.Cached(nil, q, time.Now()); ok {
		return s.complete(buf, q, msg, client, reply)
	}
	verdict := s.resolver.Ask(q, client, func(msg []byte) {
		if msg == nil {
			reply(nil)
			return
		}
		if out, wait := s.complete(nil, q, msg, client, reply); !wait {
			reply(out)
		}
	})
	switch verdict {
	case forward.Accepted:
		s.counts.query(Forwarded)
		return buf, true
	case forward.Stopped, forward.Repeated:
		return buf, false
	case forward.NoUpstream:
		s.counts.query(Failed)
		return s.code(buf, q, wire.ServerFailure), false
	case forward.Looped:
		s.counts.query(Failed)
		return s.code(buf, q, wire.Refused), false
	default:
		s.counts.query(Busy)
		return s.code(buf, q, wire.Refused), false
	}
}

// complete appends an upstream's reply to q, or resolves an alias in it of a local name. Its
// results are those of ask.
func (s *service) complete(buf []byte, q *wire.Query, msg []byte, client forward.Client, reply func([]byte)) (out []byte, wait bool) {
	n, target := s.localCNAME(q, msg)
	if n == 0 {
		return append(buf, msg...), false
	}
	return s.followCNAME(buf, q, func() []byte { // the first n answers
		var m dns.Msg
		if m.Unpack(msg) != nil || len(m.Answer) < n {
			return nil
		}
		m.Answer, m.Ns, m.Compress = m.Answer[:n], nil, true
		out, _ := m.Pack()
		return out
	}, target, client, reply)
}

// code appends a reply without records.
func (s *service) code(buf []byte, q *wire.Query, code int) []byte {
	flags := uint16(0)
	if s.resolver != nil {
		flags = wire.FlagRA
	}
	r := wire.Begin(buf, q, code, flags)
	return r.End()
}

// normalize parses with the general codec what wire.Parse does not support (signed
// queries, more records, bytes behind the message), and parses a plain query with the same
// question. A packet that the codec cannot parse stays Unsupported.
func normalize(pkt []byte, q *wire.Query) wire.ParseResult {
	var msg dns.Msg
	if msg.Unpack(pkt) != nil || len(msg.Question) != 1 || !wellFormed(&msg, pkt) {
		return wire.Unsupported
	}
	plain := dns.Msg{Question: msg.Question}
	plain.Id = msg.Id
	plain.RecursionDesired, plain.CheckingDisabled = msg.RecursionDesired, msg.CheckingDisabled
	plain.AuthenticatedData = msg.AuthenticatedData
	if opt := msg.IsEdns0(); opt != nil {
		plain.SetEdns0(opt.UDPSize(), opt.Do())
		plain.IsEdns0().SetVersion(opt.Version())
	}
	packed, err := plain.Pack()
	if err != nil {
		return wire.Unsupported
	}
	return wire.Parse(packed, q)
}

// wellFormed checks what the codec does not: the counts in the header, and that there is at
// most one OPT record, at the root, in the additional
// section (RFC 6891 §6.1.1, §6.1.2).
func wellFormed(msg *dns.Msg, pkt []byte) bool {
	opts := 0
	for i, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		if len(section) != int(binary.BigEndian.Uint16(pkt[6+2*i:])) {
			return false
		}
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				continue
			}
			opts++
			if i != 2 || rr.Header().Name != "." {
				return false
			}
		}
	}
	return opts <= 1
}

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
