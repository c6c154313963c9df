// Package v6 decides what a DHCPv6 server replies (RFC 8415): a message, a
// configuration, the leases and a time go in, a decision comes out. It has no
// socket, no clock, no log, and starts no goroutine.
//
//	svc, err := v6.Compile(cfg)              // the configuration, checked and made ready
//	pool := v6.NewPool(svc, table.Network("lab"), now)
//	req, err := v6.Parse(payload)            // then the fields before Relays
//	d := pool.Answer(&req, now)              // start reading here: answer.go
//	out = svc.AppendReply(out, &req, &d)     // if d.Reply is not zero
//
// The caller does what the decision says: it stores d.Bind before the reply
// is sent, and ends the leases of d.End. Package pool chooses addresses.
//
// It assigns addresses (IA_NA), one for each identity association; there
// are no temporary addresses and no prefixes (IA_TA, IA_PD). With several
// subnets on a link an address comes from the first that has one for the
// client.
//
// # Clients
//
// A client is its MAC, its DUID and its IAID (see lease.Lease for why the MAC
// counts). The MAC is that of the frame; behind a relay, the one that the relay gives
// (RFC 6939), or else the one that the client's link-local address (RFC 4291
// appendix A) or its DUID is made of.
//
// # The codec
//
// The codec is our own: it bounds what it keeps of a message, and does not
// allocate. github.com/insomniacslk/dhcp checks it in tests.
//
// # Deviations from RFC 8415
//
// grep for "Deviation:".
package v6
