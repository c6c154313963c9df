// Package zone answers for the names of a network: its guests, its
// host, the addresses of its subnets. A query in, a reply out; no clock, no
// socket, no log, and no allocation.
//
// # Authority
//
//   - the Domain and everything below it. Unknown names are NXDOMAIN, other
//     types of known names are NODATA, both with the zone's SOA (RFC 2308).
//   - every name of one label. Guests ask for "web" when they mean a neighbour, and such
//     queries must not be forwarded, except for the types that a validating resolver
//     needs of top-level domains (NS, SOA, DS, DNSKEY).
//   - the reverse names of Reverse, also of addresses without a guest.
//   - static names outside Domain that Hosts has in full.
//   - Records, which are in Domain, or are PTR records of Reverse.
//
// A name has the addresses of its Records (A, AAAA, CNAME), if it has any;
// else those of the host and of Hosts; else those of the live Names. A guest cannot claim a
// name that has a record, or is the host's or a reservation's. Nor can it claim "wpad",
// "isatap" or "localhost", which other guests would trust (CERT VU#598349). A wildcard covers
// names that are none of these, and not live either (RFC 4592).
//
// An address has the PTR records of Records; else one, of the host, of
// Hosts, of its first A or AAAA record, or of a live name.
//
// TTLs: 60 s for static names unless a record has its own, 10 s for live ones and
// for negative answers, so that a new guest is found soon after it was missed.
//
// # Peers
//
// Names and reverse names of Peers are answered beside the zone's own. A name belongs to the
// network with the longest domain that it is in. Single-label names of peers are not answered.
//
// # Answers
//
// Records are stored in wire form. Aliases are resolved in the zone and its
// peers, and the last name's code is the answer's (RFC 6604); a forwarder continues
// where the zone ends (CNAMETarget). Addresses are rotated,
// by the query's id. SRV and MX come with their servers' addresses where there is
// room. ANY gets one HINFO record (RFC 8482).
//
// # Special-use names
//
// [Special] answers for names that must not be forwarded: localhost,
// invalid, onion, alt, test, local, internal, home.arpa, service.arpa, resolver.arpa, and
// the private reverse zones of RFC 6303, which have SOA and NS. The caller asks it after
// its own forwarders' domains, so that a site's 10.in-addr.arpa or corp.internal can be
// served by the site's server.
package zone
