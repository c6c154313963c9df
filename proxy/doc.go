// Package proxy serves published ports in user space, where the kernel's own
// translation does not get: on the host's loopback addresses, which no packet
// leaves (IPv6), or none should (IPv4: route_localnet opens them to guests), and
// for a guest that calls itself by way of the host, whose packets a bridge does not
// send back by the port that they came from.
//
// TCP connections are copied, with their half closes; datagrams of one caller go
// by a socket of its own until two minutes have passed without one (RFC 4787
// REQ-5). Both are bounded for each endpoint and in all; what is too much is refused.
//
// It knows nothing of networks, guests or names, but for their being a word.
package proxy
