// Package limit bounds what guests, and local users without privileges, can make the
// daemon log, and what a bug that they meet costs.
//
//   - Logger limits the rate of messages: each kind of message has a limit for each
//     network. What was suppressed is counted and told.
//   - Text shortens a guest-supplied string for logs and events.
//   - Recover ends a panic where a packet or connection is handled, and counts it.
package limit
