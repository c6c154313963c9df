// Package ra decides what a router advertises on one link (RFC 4861 §6.2), and
// when: a configuration, solicitations and a time go in, ICMPv6 messages come
// out. It has no socket, no clock, no log, and starts no goroutine.
//
//	a, err := ra.New(cfg)
//	a.Set(cfg, now)            // a change: what is gone is advertised as gone
//	a.Due(now, rand)           // an unsolicited advertisement is to be sent now
//	a.Solicited(source, now)   // how to answer a solicitation
//	a.Message(now)             // the advertisement, to be sent with hop limit 255
//	a.Final(now)            // the last one, when the network stops
//	a.Next()                   // when to ask Due again
//
// The codec is github.com/mdlayher/ndp. The caller fills in the checksum, which
// depends on the source.
//
// # What is gone
//
// A guest keeps a prefix for as long as it was last told, which may be days. So
// what a change of the configuration takes away (prefixes, routes, name servers,
// search domains) is advertised beside the new for two hours, with a preferred
// lifetime of zero and the valid lifetime that is left, or with a lifetime of
// zero (RFC 4861 §6.2.4, RFC 9096 §3.5). A guest then uses the new address for
// what it begins, and the old one for what it has begun.
//
// # Deviations from RFC 4861
//
// grep for "Deviation:". In short: a solicitation is answered without delay,
// because there are no other routers on the bridge whose answers could collide
// with ours.
package ra
