package firewall

// clean lets a guest speak as itself only. Nothing but IPv4, ARP and IPv6 passes,
// whatever VLAN's tag it has.
func clean() Chain {
	return Chain{Name: "clean", Rules: []Rule{
		rule("clean: not its MAC", InSet{Fields: []Field{IIFName, EtherSAddr}, Set: "macs", Not: true}, Counter{}, drop),
		rule("", EtherIPv4, goTo("clean4")),
		rule("", EtherIPv6, goTo("clean6")),
		rule("", EtherARP, goTo("clean_arp")),
		rule("clean: neither IP nor ARP", Counter{}, drop),
	}}
}

func clean4() Chain {
	return Chain{Name: "clean4", Rules: []Rule{
		rule("clean: a DHCP server", Is{Field: UDPSPort, Number: dhcpPort}, Counter{}, drop),
		rule("clean: a router", Is{Field: ICMPKind, Number: redirect}, Counter{}, drop),
		rule("", InSet{Fields: []Field{IIFName, IPSAddr}, Set: "addresses4"}, accept),
		rule("", InSet{Fields: []Field{IPSAddr, IIFName}, Set: "behind4"}, accept),
		discover(),
		rule("clean: not its address", Counter{}, drop),
	}}
}

// clean6: addresses that guests make themselves cannot be foreseen (RFC 8981),
// and those of prefixes that are advertised are let through if they are nobody
// else's as far as is known.
func clean6() Chain {
	return Chain{Name: "clean6", Rules: []Rule{
		rule("clean: a DHCPv6 server", Is{Field: UDPSPort, Number: dhcpv6Port}, Counter{}, drop),
		rule("clean: a router", InSet{Fields: []Field{ICMPv6Kind}, Set: "routers"}, Counter{}, drop),
		rule("", Is{Field: ICMPv6Kind, Number: neighbourAdvertisement}, jump("about_neighbour")),
		rule("", InSet{Fields: []Field{IIFName, IP6SAddr}, Set: "addresses6"}, accept),
		rule("clean: duplicate address detection", nobody6(), InSet{Fields: []Field{ICMPv6Kind}, Set: "tentative"}, Counter{}, accept),
		rule("clean: somebody else's address", InSet{Fields: []Field{IP6SAddr}, Set: "taken6"}, Counter{}, drop),
		rule("", InPrefix{Field: IP6SAddr, Prefix: linkLocal}, accept),
		rule("", InSet{Fields: []Field{IP6SAddr, IIFName}, Set: "behind6"}, accept),
		rule("clean: not its address", Counter{}, drop),
	}}
}

// aboutNeighbour is passed by who advertises an address that is not another's.
func aboutNeighbour() Chain {
	return Chain{Name: "about_neighbour", Rules: []Rule{
		rule("", InSet{Fields: []Field{IIFName, NDTarget}, Set: "addresses6"}, back),
		rule("clean: advertises somebody else's address", InSet{Fields: []Field{NDTarget}, Set: "taken6"}, Counter{}, drop),
	}}
}

// cleanARP: a probe has no sender's address (RFC 5227 section 2.1.1).
func cleanARP() Chain {
	return Chain{Name: "clean_arp", Rules: []Rule{
		rule("clean: ARP for another MAC", InSet{Fields: []Field{IIFName, ARPSHA}, Set: "macs", Not: true}, Counter{}, drop),
		rule("", InSet{Fields: []Field{IIFName, ARPSPA}, Set: "addresses4"}, accept),
		rule("", InPrefix{Field: ARPSPA, Prefix: unspecified4}, accept),
		rule("clean: ARP for another address", Counter{}, drop),
	}}
}
