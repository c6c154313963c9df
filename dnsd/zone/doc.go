// Package zone answers for the names that a network owns: its guests, its
// host, the addresses of its subnets. A query in, a reply out; no clock, no
// socket, no log, and no allocation.
//
// # What is owned
//
//   - the Domain and everything below it. Unknown names are NXDOMAIN, other
//     types of known names are NODATA, both with the zone's SOA (RFC 2308).
//   - every name of one label. Guests ask for "web" when they mean a neighbour;
//     the world must not hear of it. Only the types that a validating resolver
//     needs of top-level domains (NS, SOA, DS, DNSKEY) are left to others.
//   - the reverse names of Reverse, also of addresses that nobody holds.
//   - static names outside Domain that Hosts gives in full.
//   - Records, which are in Domain, or are PTR records of Reverse.
//
// A name's addresses are those of its Records (A, AAAA, CNAME), if it has any;
// else the host's own, with those of Hosts; else those of the live Names. No guest
// takes over a name that has a record, or the host's, or a reservation's, by
// calling itself so. Nor does one become "wpad", "isatap" or "localhost", which
// other guests would trust (CERT VU#598349). A wildcard covers what is none of
// these, and no live name either (RFC 4592).
//
// An address has the PTR records that Records give it; else one, of the host, of
// Hosts, of the first record that names it, or of a live name.
//
// TTLs: 60 s for static names unless a record has its own, 10 s for live ones and
// for negative answers, so that a new guest is found soon after it was missed.
//
// # Peers
//
// Names and reverse names of Peers are answered beside the zone's own. The longest
// domain that a name is in decides whose it is. Peers' names are not asked for by
// one label.
//
// # Answers
//
// Records are in wire form since New. Aliases are followed through the zone and its
// peers, and the last name's code is the answer's (RFC 6604); whoever forwards goes
// on where the zone ends (Beyond). Several addresses take turns in being the first,
// by the query's id. SRV and MX come with their servers' addresses where there is
// room. ANY gets one HINFO record (RFC 8482).
//
// # What is nobody's
//
// [Special] answers for names that exist nowhere and should not travel: localhost,
// invalid, onion, alt, test, local, internal, home.arpa, service.arpa, resolver.arpa, and
// the private reverse zones of RFC 6303, which have SOA and NS. The caller asks it after
// its own forwarders' domains, so that a site's 10.in-addr.arpa or corp.internal can be
// served by the site's server.
package zone
