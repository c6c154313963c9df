// Package dnsd is the name server of virtual networks: it answers guests for
// the names and addresses of their own network, and asks others for the rest.
// It knows nothing of the daemon around it and can be used as a library.
//
//	s := dnsd.New("", log)
//	err := s.Set(dnsd.Config{Network: "lab", Interface: "virbr1", Listen: …})
//	err = s.Run(ctx)
//
// # How a query goes
//
//	socket → wire.Parse → zone.Answer → zone.Special → Resolver.Cached → Resolver.Ask
//	           |            own names     nobody's        kept replies     upstream
//	           └ odd shapes: straighten, with the general codec
//
// Everything up to the cache happens on the bytes of the packet, in the loop of
// the socket that read it, without allocation. Only what must go upstream costs
// memory, and that is bounded (package forward).
//
// # Who is served
//
// Each network has sockets of its own on its gateway addresses. A filter in the
// kernel lets in only what arrives on the network's bridge or on lo, that is,
// from the host itself. The sockets are not bound to the bridge
// (SO_BINDTODEVICE), which would shut the host out. Senders outside of the
// network's own prefixes are not heard either, so that a guest cannot have us
// flood others in its stead.
//
// When packets pile up on a socket, those of clients that sent more than their
// share are passed over, so that a flood costs others little (fair.go). A port that floods
// is blocked where it enters the host (flooder.go, block.go).
//
// # What is answered how
//
//	own names, reverse names of own subnets    AA; NXDOMAIN and NODATA with SOA
//	those of Peers                             the same
//	aliases of names outside                   AA; with what the target is answered with
//	names of one label                         ours; never forwarded (NXDOMAIN)
//	localhost, test, internal, private reverse local (package zone), unless a forwarder names their domain
//	aliases from outside of names that are ours followed here; what the outside says of them is dropped
//	type ANY                                   one HINFO record (RFC 8482)
//	classes but IN; zone transfer; without RD  REFUSED (own names need no RD)
//	opcodes but QUERY                          NOTIMP
//	not one question; malformed                FORMERR
//	replies; less than a header                silence
//	EDNS version over 0                        BADVERS
//	all else                                   forwarded; REFUSED where Forward is false
//	no upstream, or no answer in 4.4 s         SERVFAIL
//	too much under way                         REFUSED
//
// UDP replies are at most 1232 bytes, or what the client takes if that is less;
// longer ones have TC and no records. TCP (RFC 7766): many queries on one
// connection, answered in any order, 10 s for each to arrive; 256 connections a
// network and 32 a client, less when many are open.
package dnsd
