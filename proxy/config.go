package proxy

import (
	"net/netip"
	"slices"
)

// Config is what is served for one network.
type Config struct {
	Network   string
	Endpoints []Endpoint
}

// Protocol is what an endpoint speaks: "tcp" or "udp", as in package net.
type Protocol string

// The protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// An Endpoint is an address that is served.
type Endpoint struct {
	Protocol Protocol
	Listen   netip.AddrPort
	// Targets are where callers are led: to the one of the family of Listen, or if
	// there is none to the first.
	Targets []netip.AddrPort
	// Self leads each caller to the target that has its own address, and nobody
	// else anywhere. An endpoint of this kind that cannot be opened is no error.
	Self bool
}

// place is what sockets are known by.
type place struct {
	protocol Protocol
	listen   netip.AddrPort
}

func (e *Endpoint) place() place { return place{e.Protocol, e.Listen} }

// target returns where a caller is led; false if nowhere.
func (e *Endpoint) target(caller netip.Addr) (netip.AddrPort, bool) {
	match := func(t netip.AddrPort) bool { return t.Addr().Is4() == e.Listen.Addr().Is4() }
	if e.Self {
		match = func(t netip.AddrPort) bool { return t.Addr() == caller.Unmap() }
	}
	i := slices.IndexFunc(e.Targets, match)
	switch {
	case i >= 0:
		return e.Targets[i], true
	case e.Self || len(e.Targets) == 0:
		return netip.AddrPort{}, false
	}
	return e.Targets[0], true
}

func (e *Endpoint) has(target netip.AddrPort) bool { return slices.Contains(e.Targets, target) }
