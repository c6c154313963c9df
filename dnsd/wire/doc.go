// Package wire reads and writes the few DNS messages that a name server handles
// a million times: plain queries, short answers, and cached replies with an id,
// case and TTLs that change from client to client.
//
// It works in place on the bytes of a packet and allocates nothing, which
// is why it exists: the general codec (miekg/dns) costs 2 to 5
// allocations and 400 ns for what takes 30 ns here. It is no second codec: for
// what [Parse] calls [Unsupported] and [ParseMessage] [ErrShape], the caller takes the
// general codec. The fuzz targets compare both with it.
//
// query.go has queries, reply.go local answers, message.go upstream's replies and their
// life. RFC 1035 §4, RFC 6891 (EDNS), RFC 2308 (negative answers).
package wire
