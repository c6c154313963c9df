package dnsd

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vnetd/vnetd/dnsd/forward"
	"github.com/vnetd/vnetd/dnsd/zone"
)

// Config says what one network is served. A Server keeps what it was given:
// do not change it afterwards.
type Config struct {
	Network    string         // its name: for the log, and for Remove
	Interface  string         // the bridge: only what arrives there or on lo is answered. "" is everywhere
	Clients    []netip.Prefix // who may ask by Interface; none is anybody. IPv6 link-local may always
	Listen     []netip.Addr   // the gateway addresses
	Port       uint16         // 0 is 53
	Domain     string         // the network's own: answered here, never forwarded. "" is none
	HostNames  []string       // of the host, with and without Domain; they stand for the Listen addresses
	Hosts      []Host         // static names: reservations
	Records    []Record       // the administrator's own; see zone.Record
	Reverse    []netip.Prefix // subnets whose reverse names are ours, never forwarded
	Names      Names          // names that come and go: leases. May be nil
	Peers      []Config       // whose names and reverse names are answered, too; nothing else of them counts
	Shared     bool           // what Domain lacks here is forwarded, as any name
	Forward    bool           // false: nothing is sent upstream
	Forwarders []Forwarder    // who is asked for what; what none covers goes to the host's servers

	// RebindProtection refuses what comes from upstream and names private
	// addresses, unless a forwarder names a domain that the question is in.
	RebindProtection bool
}

// A Host is a static name; see [zone.Host].
type Host = zone.Host

// A Record is one of the administrator's own; see [zone.Record].
type Record = zone.Record

// Names are the names that come and go; see [zone.Names] for the contract.
type Names = zone.Names

// A Forwarder answers for the names at and below a domain; "" is everything,
// in place of the host's servers. Several for one domain stand in for each
// other: the first is asked while it answers.
type Forwarder struct {
	Domain  string
	Address netip.AddrPort // port 0 is 53, or 853 with TLS
	TLS     string         // ask over TLS, whoever has a certificate for this name; "" is without
}

// validate finds what would not show as a socket's or a zone's error.
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

// Zone returns what the network is called and has, as the zone that answers for
// it is made of.
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

func (c *Config) zone() (*zone.Zone, error) { return zone.New(c.Zone()) }

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
