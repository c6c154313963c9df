// Package forward asks other name servers: those that a network names for
// domains, or for everything, and else the host's own of resolv.conf, which it
// follows. What comes back is checked, kept, and handed to all who asked.
//
// # Parts
//
// A [Pool] is what all networks share: the bounds, the health of upstreams, the
// host's servers, the search for loops. A [Resolver] is one set of rules with a
// cache of its own; networks with equal rules get the same one from the pool,
// and networks with different rules never see each other's answers.
//
// A question that is not cached becomes a flight: one goroutine that asks one
// upstream after the other. Equal questions join the flight and are answered
// with it. At most 1000 flights are in the air, and one client waits for at
// most 300 replies; more is refused at once.
//
// # Against forgery
//
// Each query has a socket of its own, so a random port from the kernel, and a
// random id; the socket is connected, so the kernel drops what comes from other
// addresses; and the reply must repeat the question. Replies are kept and given
// out whole, under the question that they answered: a reply cannot bring
// records for other names into the cache. Letters are not varied (0x20): there
// are still servers that break on it.
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
