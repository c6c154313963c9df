package nettest

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// DialContext connects from the namespace to a numeric address. Several may
// wait at once: each has a thread of its own while it lasts, so a connection
// that takes its time holds up nobody in [Namespace.Do]. It fits
// http.Transport.DialContext.
func (ns *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		// Names are resolved, and their addresses tried, on other goroutines.
		return nil, fmt.Errorf("dial %s: not a numeric address", address)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	onThread(func() {
		if err := unix.Setns(int(ns.net.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("enter %s: %w", ns.Name, err)}
			return
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, address)
		done <- result{conn, err}
	})
	r := <-done
	return r.conn, r.err
}

// Dial is DialContext within the time a test may wait for anything.
func (ns *Namespace) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	return ns.DialContext(ctx, network, address)
}
