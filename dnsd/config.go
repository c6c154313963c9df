package dnsd

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/dnsd/zone"
)

// Config is the DNS configuration of one network. A Server keeps it: do not change it
// afterwards.
type Config struct {
	Network    string         // its name: for the log, and for Remove
	Interface  string         // the bridge: only queries that enter there or on lo are answered. "" is any
	Clients    []netip.Prefix // allowed sources by Interface; none is any. IPv6 link-local is always allowed
	Listen     []netip.Addr   // the gateway addresses
	Port       uint16         // 0 is 53
	Domain     string         // the network's domain: never forwarded. "" is none
	HostNames  []string       // of the host, with and without Domain; they resolve to the Listen addresses
	Hosts      []Host         // static names: reservations
	Records    []Record       // of the administrator; see zone.Record
	Reverse    []netip.Prefix // subnets with local reverse names, never forwarded
	Names      Names          // dynamic names: leases. May be nil
	Peers      []Config       // their names and reverse names are answered, too; the rest of them is ignored
	Shared     bool           // names that Domain does not have here are forwarded
	Forward    bool           // false: nothing is sent upstream
	Forwarders []Forwarder    // servers for domains; all else goes to the host's servers

	// RebindProtection refuses replies of upstreams with private
	// addresses, unless a forwarder has a domain that the question is in.
	RebindProtection bool
}

// A Host is a static name; see [zone.Host].
type Host = zone.Host

// A Record is one of the administrator; see [zone.Record].
type Record = zone.Record

// Names are dynamic names; see [zone.Names].
type Names = zone.Names

// A Forwarder answers for the names at and below a domain; "" is everything,
// in place of the host's servers. Several for one domain are used in their
// order: the first is asked while it answers.
type Forwarder struct {
	Domain  string
	Address netip.AddrPort // port 0 is 53, or 853 with TLS
	TLS     string         // use TLS, with a certificate for this name; "" is without
}

// validate finds errors that opening sockets or zone.New does not.
func (c *Config) validate() error {
	var errs []error
	if len(c.Listen) == 0 {
		errs = append(errs, errors.New("no address to listen on"))
	}
	for _, a := range c.Listen {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			errs = append(errs, fmt.Errorf("listen address %s: must be one address of the host", a))
		}
	}
	for _, p := range c.Clients {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("clients %s: invalid", p))
		}
	}
	for _, p := range c.Reverse {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("reverse subnet %s: invalid", p))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) endpoints() []netip.AddrPort {
	port := c.Port
	if port == 0 {
		port = forward.DefaultPort
	}
	list := make([]netip.AddrPort, 0, len(c.Listen))
	for _, a := range c.Listen {
		list = append(list, netip.AddrPortFrom(a.Unmap(), port))
	}
	return list
}

// Zone returns the configuration of the network's zone.
func (c *Config) Zone() zone.Config {
	z := zone.Config{
		Domain: c.Domain, HostNames: c.HostNames, HostAddrs: c.Listen, Hosts: c.Hosts, Records: c.Records,
		Reverse: c.Reverse, Names: c.Names, Recursive: c.Forward, Shared: c.Shared,
	}
	for i := range c.Peers {
		z.Peers = append(z.Peers, c.Peers[i].Zone())
	}
	return z
}

func (c *Config) rules() []forward.Rule {
	rules := make([]forward.Rule, 0, len(c.Forwarders))
	for _, f := range c.Forwarders {
		server := f.Address
		if server.IsValid() && server.Port() == 0 {
			server = netip.AddrPortFrom(server.Addr(), forward.DefaultPort)
			if f.TLS != "" {
				server = netip.AddrPortFrom(server.Addr(), forward.DefaultTLSPort)
			}
		}
		rules = append(rules, forward.Rule{Domain: f.Domain, Server: server, TLS: f.TLS})
	}
	return rules
}
