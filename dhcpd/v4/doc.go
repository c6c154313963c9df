// Package v4 decides what a DHCPv4 server replies (RFC 2131): a message, a
// configuration, the leases and a time go in, a decision comes out. It has no
// socket, no clock, no log, and starts no goroutine.
//
//	svc, err := v4.Compile(cfg)            // the configuration, checked and made ready
//	pool := v4.NewPool(svc, table.Network("lab"), now)
//	req, err := v4.Parse(payload)
//	d := pool.Answer(&req, now)            // start reading here: answer.go
//	out = d.Subnet.AppendReply(out, &req, &d) // if d.Reply is not zero
//
// The caller does what the decision says: it stores d.Lease before the reply
// is sent, ends leases, probes whether d.Address is in use. Package pool chooses
// addresses.
//
// # The codec
//
// The codec is our own: options are found in place, and what a network sends is
// rendered once for each combination of tags and reservation (see package
// option). github.com/insomniacslk/dhcp checks it in tests; a DISCOVER and its
// OFFER cost 9 µs and 118 allocations there, and it does not read option 52
// (overload) and accepts any hardware length.
//
// # Deviations from RFC 2131
//
// grep for "Deviation:". In short: a client is its MAC; the server is
// authoritative, as libvirt runs dnsmasq, so a REQUEST that it does not know or
// does not agree with gets a NAK, and an unknown client that asks for a free address of
// the range may keep it (a lost lease file repairs itself).
package v4
