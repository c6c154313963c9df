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
//
// A name is looked for among the host's own names, then among Hosts, then
// among the live Names: no guest takes over the name of the host or of a
// reservation by calling itself so. Nor does one become "wpad", "isatap" or
// "localhost", which other guests would trust (CERT VU#598349).
//
// TTLs: 60 s for static names, 10 s for live ones and for negative answers, so
// that a new guest is found soon after it was missed.
//
// # What is nobody's
//
// [Special] answers for names that exist nowhere and should not travel:
// localhost, invalid, onion, alt, resolver.arpa, and the private reverse zones
// of RFC 6303. The caller asks it after its own forwarders' domains, so that a
// site's 10.in-addr.arpa can be served by the site's server.
//
// Deviation: test, local, internal and home.arpa are not in that list, although
// RFC 6761 and RFC 6762 would have two of them stopped. Laboratories and
// offices serve them from the host's own resolvers, and their guests ask us.
package zone
