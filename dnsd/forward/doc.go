// Package forward asks other name servers: those that a network names for
// domains, or for everything, and else the host's own of resolv.conf, which it
// follows. What comes back is checked, kept, and handed to all who asked.
//
// # Parts
//
// A [Pool] is what all networks share: the bounds, the cache, the health of
// upstreams, the host's servers, the search for loops. A [Resolver] is one set
// of rules; networks with equal rules get the same one from the pool, and
// networks with different rules never see each other's answers.
//
// A question that is not cached becomes a flight: a state that answers, errors
// and the clock move (flight.go). No goroutine and no timer of its own waits for
// it; one clock ticks for all, while there are any. Equal questions join the
// flight and are answered with it. At most 1000 flights are in the air, shared by
// network, then port, then address (share.go): one port waits for at most 300 replies,
// less when many are in the air. More is refused, unless a client with less pending takes
// the place of the oldest query of the one with most.
//
// # Whom to ask
//
// Several upstreams for one domain stand in for each other, in their order. One
// that lets a flight wait for four times its usual time is not given up: another
// one is asked beside it, and whoever answers first counts. After two silences in
// a row it rests, that is, it is asked last; now and then a question goes to it
// beside the one that answers, to see whether it is back. So a dead upstream
// costs its time-out twice, not once a query. SERVFAIL and the like move on to
// the next at once.
//
// When all fail, or none has answered after 1.8 seconds, what is past its TTL is
// given out, for up to a day (RFC 8767).
//
// Queries go over UDP; what comes back cut goes over TCP. An upstream with a
// name is asked over TLS only (RFC 7858): the certificate has to be for that
// name. Connections are used again, by many queries at once.
//
// # Against forgery
//
// Queries go from sockets on random ports, each with at most 64 queries within
// one second, and with random ids; sockets are connected, so the kernel drops
// what comes from other addresses; the reply must repeat the question, in the
// random letters in which it was asked (0x20). A reply in other letters is not
// believed: the question goes over TCP, and if that shows that the server
// changes letters, it gets small ones for an hour. Somebody who guesses ids has
// 16 tries per socket, then all its questions go over TCP, too.
//
// Of a reply, what is not about the question or where its aliases lead is
// dropped (wire.ParseMessage, tidy). Replies are kept and given out whole, under
// the question that they answered, so records cannot get to other names.
//
// # Split DNS
//
// Where systemd-resolved runs, resolv.conf names its stub, and asking that one
// is what respects the domains that it knows by link, as VPNs tell them. Where
// resolv.conf names its upstreams instead, the host's administrator has chosen
// to have no split DNS; that is respected as well.
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
// Until it is cleared the question waits with its flight, which can amplify
// nothing. Then a probe goes to the upstream: an unguessable label under the
// same name, so that the stub routes it as it routed the question. If the probe
// arrives at one of our sockets the loop is proved: all flights leave that
// upstream at once, and it is not asked for half a minute.
//
// Marking all queries with an EDNS option would be simpler, but stubs write
// queries of their own and drop it. Probing upstreams ahead of time (dnsmasq's
// way) misses what changes later.
package forward
