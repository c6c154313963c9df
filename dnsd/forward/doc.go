// Package forward forwards queries: to the name servers that a network has for
// domains, or for everything, else to those of the host's resolv.conf, which it
// follows. Replies are checked, cached, and sent to all clients that wait for them.
//
// # Parts
//
// A [Pool] has what all networks share: limits, the cache, the health of
// upstreams, the host's servers, loop detection. A [Resolver] is one set
// of rules; networks with equal rules get the same one from the pool, and
// networks with different rules never see each other's answers.
//
// A question that is not cached becomes a query in flight: a state machine that answers,
// errors and ticks move (inflight.go). It has no goroutine and no timer; one ticker serves
// all, while there are any. Equal questions wait for the same one. At most 1000 are in
// flight, shared by network, then port, then address (admission.go): one port waits for at
// most 300 replies, less when many are in flight. More is refused, unless a client with
// fewer pending queries evicts the oldest query of the one with most.
//
// # Choice of upstreams
//
// Several upstreams for one domain are asked in their order. When one has not answered for
// four times its usual round-trip time, another one is asked too, and the first answer
// counts. After two time-outs in a row it is marked down, that is, it is asked last; from
// time to time it is checked with a query beside the one to an upstream that answers. So a
// dead upstream costs its time-out twice, not once a query. After SERVFAIL and the like the
// next one is asked.
//
// When all fail, or none has answered after 1.8 seconds, stale replies are
// sent, for up to a day (RFC 8767).
//
// Queries go over UDP, and after a truncated reply over TCP. An upstream with a
// name is asked over TLS only (RFC 7858): the certificate has to be for that
// name. Connections are shared by many queries.
//
// # Against forgery
//
// Queries go from sockets on random ports, each with at most 64 queries within
// one second, and with random ids; sockets are connected, so the kernel drops
// what comes from other addresses; the reply must repeat the question, in the
// random case in which it was asked (DNS 0x20). A reply in another case is not
// accepted: the question goes over TCP, and if that shows that the server
// does not preserve case, it gets lower case for an hour. After 16 unsolicited replies on
// a socket its questions go over TCP, too.
//
// Records of a reply that are not about the question or its chain of aliases are
// dropped (wire.ParseMessage, tidy). Replies are cached and sent whole, under
// the question that they answered, so records cannot get to other names.
//
// # Split DNS
//
// Where systemd-resolved runs, resolv.conf names its stub, and asking that one
// respects the per-link domains that VPNs configure. Where
// resolv.conf has its upstreams instead, the host's administrator has chosen
// to have no split DNS.
//
// # Loops
//
// The host's resolv.conf may name a local stub which in its turn asks us. Our
// own listening addresses are never asked. A stub cannot be excluded, as its
// split DNS is wanted; whether it sends our own queries back to us depends on
// its configuration, which can change at any time, name by name. So a loop is
// looked for when one shows: the very question that we wait for arrives again,
// from the upstream that we asked, or from the host when the upstream is on the
// host. That is a suspicion only, as a program on the host may ask the same.
// Until it is cleared the question waits for the one in flight, which amplifies
// nothing. Then a probe goes to the upstream: an unguessable label under the
// same name, so that the stub routes it as it routed the question. If the probe
// arrives at one of our sockets the loop is proved: the upstream is removed
// from all queries in flight, and is not asked for half a minute.
//
// Marking all queries with an EDNS option would be simpler, but stubs write
// queries of their own and drop it. Probing upstreams ahead of time (dnsmasq's
// way) misses what changes later.
package forward
