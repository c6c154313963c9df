// Package ra schedules and makes the router advertisements of one link (RFC 4861
// §6.2): a configuration, solicitations and a time go in, ICMPv6 messages come
// out. It has no socket, no clock, no log, and starts no goroutine.
//
//	a, err := ra.New(cfg)
//	a.Set(cfg, now)            // a change: removed options are advertised as withdrawn
//	a.Due(now, rand)           // an unsolicited advertisement is to be sent now
//	a.Solicited(source, now)   // whether to answer a solicitation by unicast
//	a.Message(now)             // the advertisement, to be sent with hop limit 255
//	a.Final(now)            // the final one, when the network stops
//	a.Next()                   // when to call Due again
//
// The codec is github.com/mdlayher/ndp. The caller fills in the checksum, which
// depends on the source.
//
// # Withdrawn options
//
// A guest keeps a prefix for its last advertised lifetime, which may be days. So
// options that a change of the configuration removes (prefixes, routes, name servers,
// search domains) are advertised beside the new ones for two hours, with a preferred
// lifetime of zero and the remaining valid lifetime, or with a lifetime of
// zero (RFC 4861 §6.2.4, RFC 9096 §3.5). A guest then uses the new address for
// new connections, and the old one for existing ones.
//
// # Deviations from RFC 4861
//
// grep for "Deviation:". In short: a solicitation is answered without delay,
// because there are no other routers on the bridge with answers that could collide
// with ours.
package ra
