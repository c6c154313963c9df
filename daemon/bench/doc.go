// Package bench measures vnetd beside dnsmasq, configured as libvirt does it, in
// one run: `make bench`. It is all behind the build tag bench, for a figure is no
// test: nothing here passes or fails by the time it takes.
package bench
