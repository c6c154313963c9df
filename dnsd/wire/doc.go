// Package wire reads and writes the few DNS messages that a name server sees
// a million times: plain queries, short answers, and stored replies whose id,
// letters and TTLs change from client to client.
//
// It works in place on the bytes of a packet and allocates nothing, and this
// is its only reason to exist: the general codec (miekg/dns) costs 2 to 5
// allocations and 400 ns for what takes 30 ns here. It is no second codec. What
// [Parse] does not know it calls [Odd], and the caller takes the general codec
// for it; what [ParseMessage] does not know is an error, with the same way out.
// The fuzz targets hold both to the general codec's view.
//
// Read query.go for what comes in, reply.go for what goes out, message.go for
// upstream's replies and how long they live. RFC 1035 §4, RFC 6891 (EDNS), RFC
// 2308 (negative answers).
package wire
