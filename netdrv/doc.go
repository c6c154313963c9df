// Package netdrv is the vocabulary of vnetd: what a user declares, what the
// kernel should look like because of it, and what to change to get there.
//
// There are three pictures, and three functions between them:
//
//	Network   intent: what a person asked for, as stored
//	State     want or have: links, addresses, sysctls that are ours
//	Plan      the steps that make have equal to want; it prints as ip(8) lines
//
//	Validate(network)             everything wrong with one definition
//	Conflicts(network, ...)       what it collides with: other networks, the host
//	Compile(networks, host)       intent -> want
//	Diff(want, have)              want, have -> plans
//
// The package does no I/O, keeps no state, and imports nothing of ours: every
// test can start from it. netdrv/kernel makes plans true; firewall has the
// rules; daemon/reconcile runs the loop.
package netdrv
