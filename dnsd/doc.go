// Package dnsd is the name server of virtual networks: it answers guests for
// the names and addresses of their own network, and forwards other queries.
// It does not depend on the daemon and can be used as a library.
//
//	s := dnsd.New("", log)
//	err := s.Set(dnsd.Config{Network: "lab", Interface: "virbr1", Listen: …})
//	err = s.Run(ctx)
//
// # The path of a query
//
//	socket → wire.Parse → zone.Answer → zone.Special → Resolver.Cached → Resolver.Ask
//	           |           local names   special-use names   cache         upstream
//	           └ unsupported: normalize, with the general codec
//
// Everything up to the cache works on the bytes of the packet, in the goroutine of
// the socket, without allocation. Only what must go upstream costs
// memory, and that is bounded (package forward).
//
// # Clients
//
// Each network has its own sockets on its gateway addresses. A socket filter
// accepts only packets that enter by the network's bridge or by lo, that is,
// from the host itself. The sockets are not bound to the bridge
// (SO_BINDTODEVICE), which would exclude the host. Packets with a source outside of the
// network's prefixes are dropped, so that a guest cannot have us flood others.
//
// When a socket has a backlog, packets of clients over their
// share are dropped, so that a flood hardly affects others (admission.go). A port that is a
// top talker is blocked where it enters the host (toptalker.go).
//
// # Answers
//
//	local names, reverse names of own subnets  AA; NXDOMAIN and NODATA with SOA
//	those of Peers                             the same
//	local aliases of external names            AA; with the answer for the target
//	names of one label                         local; never forwarded (NXDOMAIN)
//	localhost, test, internal, private reverse local (package zone), unless a forwarder has their domain
//	external aliases of local names            resolved here; the upstream's records of the target are dropped
//	type ANY                                   one HINFO record (RFC 8482)
//	classes but IN; zone transfer; without RD  REFUSED (local names need no RD)
//	opcodes but QUERY                          NOTIMP
//	not one question; malformed                FORMERR
//	replies; less than a header                no reply
//	EDNS version over 0                        BADVERS
//	all else                                   forwarded; REFUSED where Forward is false
//	no upstream, or no answer in 4.4 s         SERVFAIL
//	limits of pending queries                  REFUSED
//
// UDP replies are at most 1232 bytes, or what the client takes if that is less;
// longer ones have TC and no records. TCP (RFC 7766): many queries on one
// connection, answered in any order, 10 s for each to arrive; 256 connections a
// network and 32 a client, less when many are open.
package dnsd
