package firewall

import "time"

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

// clean4: clients take the messages of a DHCP server whatever port they come from.
func clean4() Chain {
	return Chain{Name: "clean4", Rules: []Rule{
		rule("clean: a DHCP server", Is{Field: UDPSPort, Number: dhcpPort}, Counter{}, drop),
		rule("clean: a DHCP server", Is{Field: UDPDPort, Number: dhcpClientPort}, Counter{}, drop),
		rule("clean: a router", Is{Field: ICMPKind, Number: redirect}, Counter{}, drop),
		rule("", InSet{Fields: []Field{IIFName, IPSAddr}, Set: "addresses4"}, accept),
		rule("", InSet{Fields: []Field{IPSAddr, IIFName}, Set: "behind4"}, accept),
		discover(),
		rule("clean: DHCP", InSet{Fields: []Field{IIFName, IPSAddr}, Set: "renews4"}, Is{Field: UDPDPort, Number: dhcpPort}, Counter{}, accept),
		rule("clean: not its address", Counter{}, drop),
	}}
}

// clean6: addresses that guests make themselves cannot be foreseen (RFC 8981),
// and those of prefixes that are advertised are let through if they are nobody
// else's as far as is known.
func clean6() Chain {
	return Chain{Name: "clean6", Rules: []Rule{
		rule("", FirstFragment{}, jump("first_fragment")),
		rule("clean: a DHCPv6 server", Is{Field: UDPSPort, Number: dhcpv6Port}, Counter{}, drop),
		rule("clean: a DHCPv6 server", Is{Field: UDPDPort, Number: dhcpv6ClientPort}, Counter{}, drop),
		rule("clean: a router", InSet{Fields: []Field{ICMPv6Kind}, Set: "routers"}, Counter{}, drop),
		rule("", Is{Field: ICMPv6Kind, Number: neighbourAdvertisement}, jump("about_neighbour")),
		rule("", InSet{Fields: []Field{IIFName, IP6SAddr}, Set: "addresses6"}, accept),
		detection(),
		rule("clean: duplicate address detection", nobody6(), InSet{Fields: []Field{ICMPv6Kind}, Set: "tentative"}, Counter{}, accept),
		rule("clean: somebody else's address", InSet{Fields: []Field{IP6SAddr}, Set: "taken6"}, Counter{}, drop),
		rule("", InPrefix{Field: IP6SAddr, Prefix: linkLocal}, goTo("self_made6")),
		rule("", InSet{Fields: []Field{IP6SAddr, IIFName}, Set: "behind6"}, goTo("self_made6")),
		rule("clean: not its address", Counter{}, drop),
	}}
}

// What bounds how many addresses a guest makes itself: each is an entry in the host's
// neighbour table, which is one for all networks (gc_thresh3, 1024 by default).
const (
	madeAddresses      = 1 // a second
	madeAddressesBurst = 32
	maxMadeAddresses   = 1 << 16
	madeTimeout        = 10 * time.Minute
)

// selfMade6 knows the addresses that a guest has made itself, and lets it make a few more.
func selfMade6() Chain {
	made := []Field{IIFName, IP6SAddr}
	return Chain{Name: "self_made6", Rules: []Rule{
		rule("", InSet{Fields: made, Set: "made6"}, AddTo{Set: "made6", Fields: made}, accept),
		rule("clean: too many addresses", AddTo{Set: "new_made6", Fields: []Field{IIFName}, Over: Rate{madeAddresses, madeAddressesBurst}}, Counter{}, drop),
		rule("", AddTo{Set: "made6", Fields: made}, accept),
		rule("clean: too many addresses", Counter{}, drop),
	}}
}

// detection sends duplicate address detection, which has no source address, to the chain
// that judges its target.
func detection() Rule {
	return rule("", nobody6(), Is{Field: ICMPv6Kind, Number: neighbourSolicitation}, jump("about_neighbour"))
}

// aboutNeighbour drops claims on an address that another guest has or may get, and on
// the host's: a neighbour advertisement, and duplicate address detection, with which a
// guest would keep the other from using the address (RFC 4862 section 5.4). No rule in it
// asks for the type of the message: nft would list the field by a name then that the key
// of the set does not have.
func aboutNeighbour() Chain {
	return Chain{Name: "about_neighbour", Rules: []Rule{
		rule("", InSet{Fields: []Field{IIFName, NDTarget}, Set: "targets6"}, back),
		rule("clean: claims the address of another guest", InSet{Fields: []Field{NDTarget}, Set: "taken_targets6"}, Counter{}, drop),
	}}
}

// firstFragment drops what the rules behind it could not read: the headers of a packet
// have to be in its first fragment (RFC 7112), and neighbour discovery is in no fragment
// at all (RFC 6980).
func firstFragment() Chain {
	return Chain{Name: "first_fragment", Rules: []Rule{
		rule("clean: neighbour discovery in a fragment", InSet{Fields: []Field{ICMPv6Kind}, Set: "discovery"}, Counter{}, drop),
		rule("", UpperHeader{}, back),
		rule("clean: a first fragment without all headers", Counter{}, drop),
	}}
}

// cleanARP: a probe has no sender's address (RFC 5227 section 2.1.1). One about the
// address of another guest would keep that from using it.
func cleanARP() Chain {
	return Chain{Name: "clean_arp", Rules: []Rule{
		rule("clean: ARP for another MAC", InSet{Fields: []Field{IIFName, ARPSHA}, Set: "macs", Not: true}, Counter{}, drop),
		rule("", InSet{Fields: []Field{IIFName, ARPSPA}, Set: "addresses4"}, accept),
		rule("", InPrefix{Field: ARPSPA, Prefix: unspecified4}, goTo("arp_probe")),
		rule("clean: ARP for another address", Counter{}, drop),
	}}
}

func arpProbe() Chain {
	return Chain{Name: "arp_probe", Rules: []Rule{
		rule("", InSet{Fields: []Field{IIFName, ARPTPA}, Set: "addresses4"}, accept),
		rule("clean: claims the address of another guest", InSet{Fields: []Field{ARPTPA}, Set: "taken4"}, Counter{}, drop),
		rule("", accept),
	}}
}
