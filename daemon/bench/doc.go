// Package bench measures vnetd beside its peers in one run: `make bench`. They
// are dnsmasq, configured as libvirt does it, and Kea for DHCP; CoreDNS and
// unbound as well for DNS. It is all behind the build tag bench, for a figure is
// no test: nothing here passes or fails by the time it takes.
//
// Every server runs on the first processor and what loads it on the second.
// The servers take turns, in rounds, and a figure is the median of its rounds.
// What a server's processor spends is told beside what it gets done, since that
// does not depend on how fast the load is.
package bench
