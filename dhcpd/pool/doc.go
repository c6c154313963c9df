// Package pool allocates the addresses of DHCPv4 and DHCPv6: subnets with their
// ranges and reservations, leases, clients and a time go in, addresses come out.
// It has no socket, no clock, no log, and starts no goroutine.
//
//	config.go   Service: subnets, ranges, reservations, checked and made ready
//	ranges.go   ranges, numbered from 0, and a bitmap of their free addresses
//	pool.go     Pool: offers, quarantine, and the binding of leases
//	choose.go   the order in which an address is chosen
//	client.go   Client: the sender of a message, its reservations and hostname
//	holder.go   whether a message comes from the holder of a lease
//	quota.go    quotas per bridge port and relay circuit
//	claims.go   how many addresses a port may claim when probed
//
// IPv4 and IPv6 differ in a few points only, where the code asks Service.IPv6: an
// IPv6 client can have several addresses, all subnets share one quota, and the
// number of leases is bounded, since ranges are not.
//
// # Offers and quarantine
//
// An offered address is kept for its client for a minute. When nothing else is
// left, the oldest offer is withdrawn: a flood of DISCOVERs from invented MACs
// cannot hold a pool, because a real client takes up its offer within milliseconds.
// A declined address, or one that another host uses, is in quarantine for ten
// minutes. Quarantine is bounded to a quarter of the pool, so that a client which
// declines every address cannot use it up.
package pool
