package netdrv

import "net/netip"

// maxForwardPorts bounds the ports that a network publishes; each is an element
// of a map in the kernel.
const maxForwardPorts = 16384

func validateForwards(fs *Findings, n *Network) {
	if len(n.Forwards) > 0 && n.Mode != NAT && n.Mode != Route {
		fs.Add("forwards", "are for modes nat and route; this network's mode is %s", n.Mode)
		return
	}
	ports, claims := 0, claims{}
	for i := range n.Forwards {
		f, at := &n.Forwards[i], index("forwards", i)
		ports += f.Listen.Ports.Count() * max(1, len(f.From))
		validateCallers(fs, f, at+".from")
		validateTarget(fs, n, f, at+".to")
		validateListener(fs, f, at)
		if ports > maxForwardPorts {
			continue
		}
		if j := claims.clashing(f); j >= 0 {
			fs.Add(at+".listen", "%s meets %s of %s", f.Listen, n.Forwards[j].Listen, index("forwards", j))
		}
		claims.add(f, i)
	}
	if ports > maxForwardPorts {
		fs.Add("forwards", "are %d ports, times the prefixes in from; at most %d can be published", ports, maxForwardPorts)
	}
}

func validateCallers(fs *Findings, f *Forward, at string) {
	if f.Loopback() && len(f.From) > 0 {
		fs.Add(at, "is about others than the host's own programs, and only those reach %s", f.Address)
		return
	}
	family := f.Address
	if !family.IsValid() {
		family = f.Target()
	}
	for i, p := range f.From {
		switch {
		case !p.IsValid(): // could not be read
		case p != p.Masked():
			fs.Add(index(at, i), "%s has host bits set; did you mean %s?", p, p.Masked())
		case family.IsValid() && family.Is4() != p.Addr().Is4():
			fs.Add(index(at, i), "%s and %s are of two families, so that no address in it can be a source", p, family)
		}
	}
}

func validateTarget(fs *Findings, n *Network, f *Forward, at string) {
	a := f.Target()
	switch {
	case f.Guest == "":
		fs.Add(at, "is missing: name a guest and its port, such as web:80")
	case f.Ports.Count() != f.Listen.Ports.Count():
		fs.Add(at, "has %d ports for %d of the host; give as many", f.Ports.Count(), f.Listen.Ports.Count())
	case !a.IsValid() && DomainProblem(f.Guest) != "":
		fs.Add(at, "%q is neither an address nor a name: labels are letters, digits and '-', 1 to 63 of them", f.Guest)
	case a.IsValid() && !n.HasGuest(a):
		fs.Add(at, "%s is no address of a guest: it is in none of the network's subnets and routes, or the host's own", a)
	case a.IsValid() && f.Address.IsValid() && !f.Loopback() && a.Is4() != f.Address.Is4():
		fs.Add(at, "%s and the host's address %s are of two families", a, f.Address)
	}
}

func validateListener(fs *Findings, f *Forward, at string) {
	switch {
	case f.Address.IsMulticast(), f.Address.IsValid() && f.Address.IsUnspecified():
		fs.Add(at+".address", "%s is not one address of the host; leave it out for all of them", f.Address)
	case f.Loopback() && f.Listen.Protocol == SCTP:
		fs.Add(at+".address", "%s is served for tcp and udp only", f.Address)
	}
}

// forwardConflicts: a port leads to one guest.
func forwardConflicts(fs *Findings, n *Network, ports claims, o *Network) {
	said := map[int]bool{}
	for j := range o.Forwards {
		f := &o.Forwards[j]
		if i := ports.clashing(f); i >= 0 && !said[i] {
			said[i] = true
			fs.Add(index("forwards", i)+".listen", "%s meets %s, which network %s publishes to %s",
				n.Forwards[i].Listen, f.Listen, o.Name, f.To())
		}
	}
}

// claims are the first of a list of forwards that has a port of the host: on an
// address, on all of them (no address), and on any one of them (anyOne).
type claims map[claim]int

type claim struct {
	protocol Protocol
	port     uint16
	address  netip.Addr
}

var anyOne = netip.IPv4Unspecified()

func claimsOf(forwards []Forward) claims {
	c := claims{}
	for i := range forwards {
		c.add(&forwards[i], i)
	}
	return c
}

func (c claims) add(f *Forward, i int) {
	for p := range f.Listen.Ports.Count() {
		for _, a := range []netip.Addr{f.Address, anyOne} {
			k := claim{f.Listen.Protocol, f.Listen.Ports.Start + uint16(p), a}
			if _, ok := c[k]; !ok {
				c[k] = i
			}
		}
	}
}

// clashing returns the first forward that a packet for f could be meant for, or -1.
func (c claims) clashing(f *Forward) int {
	first := -1
	if len(c) == 0 {
		return first
	}
	for p := range f.Listen.Ports.Count() {
		k := claim{f.Listen.Protocol, f.Listen.Ports.Start + uint16(p), netip.Addr{}}
		others := []netip.Addr{{}, f.Address}
		if !f.Address.IsValid() {
			others = []netip.Addr{anyOne}
		}
		for _, k.address = range others {
			if i, ok := c[k]; ok && (first < 0 || i < first) {
				first = i
			}
		}
	}
	return first
}
