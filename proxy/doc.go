// Package proxy serves published ports in user space, where the kernel's DNAT does not
// apply: on the host's loopback addresses, as their packets never leave it (IPv6), or should
// not (IPv4: route_localnet exposes them to guests), and
// for a guest that connects to itself by way of the host, as a bridge does not
// send packets back by the port that they came from.
//
// TCP connections are copied, with their half-closes; the datagrams of a client
// use a socket of its own until two minutes have passed without one (RFC 4787
// REQ-5). Sessions are limited for each endpoint and in all; more are refused.
package proxy
