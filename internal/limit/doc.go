// Package limit bounds what guests, and local users without privileges, can cost the
// daemon: log messages, connections, panics.
//
//   - Logger limits the rate of messages: each kind of message has a limit for each
//     network. Suppressed messages are counted and reported.
//   - Text shortens a guest-supplied string for logs and events.
//   - Conns limits the connections of a server, in all and for each client.
//   - Recover ends a panic where a packet or connection is handled, and counts it.
package limit
