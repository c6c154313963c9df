package netdrv

import (
	"net/netip"
	"regexp"
	"strings"
)

// maxRange bounds one range, so that a typing error in an end does not become
// a pool of 16 million addresses. It is libvirt's bound too.
const maxRange = 1 << 16

var (
	nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)
	linkRE = regexp.MustCompile(`^[^\s/:\x00-\x1f\x7f]+$`)
	hostRE = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

// Validate returns everything that is wrong with n on its own: nothing about
// other networks or the host. n must be complete (see Complete).
func Validate(n *Network) Findings {
	var fs Findings
	if !nameRE.MatchString(n.Name) {
		fs.Add("name", "%q is not a name: use 1 to 63 letters, digits, '-', '_' or '.', the first a letter or digit", n.Name)
	}
	if _, ok := modeNames[n.Mode]; !ok {
		fs.Add("mode", "is not set: use nat, route, open, isolated, bridge or direct")
	}
	validateBridge(&fs, n)
	validateDirect(&fs, n)
	validateUplinks(&fs, n)
	validateSubnets(&fs, n)
	validateDNS(&fs, n)
	validateNames(&fs, n)
	validateRA(&fs, n)
	validateNAT(&fs, n)
	validateRoutes(&fs, n)
	validateHostAccess(&fs, n)
	validateFilter(&fs, n)
	validateForwards(&fs, n)
	validateAccess(&fs, n)
	validateBandwidth(&fs, n)
	return fs
}

func validateBridge(fs *Findings, n *Network) {
	b := n.Bridge
	if why := LinkNameProblem(b.Name); why != "" && n.hasHostLink() {
		fs.Add("bridge.name", "%s", why)
	}
	if b.MAC.IsMulticast() {
		fs.Add("bridge.mac", "%s is a multicast address; the first octet must be even", b.MAC)
	}
	validateMTU(fs, n)
	if b.FDBMaxLearned != 0 && !n.Mode.OwnsBridge() {
		fs.Add("bridge.fdbMaxLearned", "is for modes nat, route, open and isolated: in mode bridge there is a LAN behind the bridge, and mode direct has none")
	}
	switch {
	case n.Mode == ExistingBridge:
		validateHostsBridge(fs, b)
	case len(b.Uplinks) > 0:
		fs.Add("bridge.uplinks", "are for mode bridge; modes nat and route have uplinks on the first level")
	case n.Mode == DirectLink && !n.Direct.HostAccess && b.Name != "":
		fs.Add("bridge.name", "is for direct.hostAccess, the host's own link; without, mode direct has none")
	}
}

// hasHostLink reports whether the network has a link on the host that is not a
// guest's: a bridge, or the macvlan of Direct.HostAccess.
func (n *Network) hasHostLink() bool { return n.Mode != DirectLink || n.Direct.HostAccess }

func validateMTU(fs *Findings, n *Network) {
	// 68 is the smallest that IPv4 works with (RFC 791), 1280 IPv6 (RFC 8200
	// section 5), 65535 the kernel's ETH_MAX_MTU.
	switch mtu := n.Bridge.MTU; {
	case mtu == 0 || mtu == AutoMTU:
	case mtu < 68 || mtu > 65535:
		fs.Add("bridge.mtu", "%d is outside 68 to 65535", mtu)
	case mtu < 1280 && n.HasIPv6():
		fs.Add("bridge.mtu", "%d is less than the 1280 that IPv6 needs", mtu)
	}
}

// validateHostsBridge is about a bridge that is the host's business.
func validateHostsBridge(fs *Findings, b Bridge) {
	if !b.MAC.IsZero() {
		fs.Add("bridge.mac", "is the host's own in mode bridge; leave it out")
	}
	if b.MTU != 0 && len(b.Uplinks) == 0 {
		fs.Add("bridge.mtu", "is the host's to say in mode bridge; leave it out")
	}
	validateLinks(fs, "bridge.uplinks", b.Uplinks, b.Name)
}

func validateDirect(fs *Findings, n *Network) {
	d := n.Direct
	if n.Mode != DirectLink {
		if d.HostAccess || d.Mode != 0 || len(d.Uplinks) > 0 {
			fs.Add("direct", "is for mode direct; this network's mode is %s", n.Mode)
		}
		return
	}
	if len(d.Uplinks) == 0 {
		fs.Add("direct.uplinks", "are missing: name the host's link that guests are to share, such as [eno1]")
	}
	validateLinks(fs, "direct.uplinks", d.Uplinks, n.Bridge.Name)
	if d.HostAccess && d.Mode != 0 && d.Mode != DirectBridge {
		fs.Add("direct.hostAccess", "works in direct mode bridge only: in %s, the host's link could not talk to guests", d.Mode)
	}
	if d.HostAccess && d.Mode == 0 && len(d.Uplinks) > 1 {
		fs.Add("direct.hostAccess", "is on one uplink, and guests on the others would not reach it; name one uplink")
	}
}

func validateUplinks(fs *Findings, n *Network) {
	if len(n.Uplinks) > 0 && n.Mode != NAT && n.Mode != Route {
		fs.Add("uplinks", "are for modes nat and route; this network's mode is %s", n.Mode)
	}
	validateLinks(fs, "uplinks", n.Uplinks, n.Bridge.Name)
}

// validateLinks is about a list of links of the host; own is the network's.
func validateLinks(fs *Findings, path string, links []string, own string) {
	seen := map[string]int{}
	for i, l := range links {
		at := index(path, i)
		if why := LinkNameProblem(l); why != "" {
			fs.Add(at, "%s", why)
		} else if l == own {
			fs.Add(at, "%s is this network's own link", l)
		}
		once(fs, at, path, seen, l, i)
	}
}

// LinkNameProblem says why name cannot be a link's name (net/core/dev.c:
// dev_valid_name), or "".
func LinkNameProblem(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > 15:
		return "\"" + name + "\" is longer than the 15 bytes that Linux allows for a link's name"
	case name == "." || name == ".." || !linkRE.MatchString(name):
		return "\"" + name + "\" cannot be a link's name: no spaces, '/' or ':'"
	case name == "all" || name == "default" || name == "lo":
		return "\"" + name + "\" is reserved by Linux"
	case strings.Contains(name, "%"):
		return "\"" + name + "\" holds a '%', which the kernel would expand"
	}
	return ""
}

func validateNAT(fs *Findings, n *Network) {
	o := n.NAT
	if n.Mode != NAT {
		if !o.Ports.IsZero() || o.IPv6 || len(o.Addresses) > 0 {
			fs.Add("nat", "is for mode nat; this network's mode is %s", n.Mode)
		}
		return
	}
	if o.IPv6 && !n.HasIPv6() {
		fs.Add("nat.ipv6", "translates nothing: the network has no IPv6 subnet")
	}
	if p := o.Ports; !p.IsZero() && (p.Start == 0 || p.End < p.Start) {
		fs.Add("nat.ports", "%d to %d is not a range of ports", p.Start, p.End)
	}
	for i, r := range o.Addresses {
		validateSource(fs, n, index("nat.addresses", i), r)
		if i > 0 && o.Addresses[0].Start.Is4() == r.Start.Is4() {
			fs.Add(index("nat.addresses", i), "is a second range of its family; give one")
		}
	}
}

// validateSource is about a range of addresses that guests' packets leave with.
func validateSource(fs *Findings, n *Network, path string, r Range) {
	switch {
	case !r.Start.IsValid() || !r.End.IsValid():
	case r.Start.Is4() != r.End.Is4():
		fs.Add(path, "%s and %s are of two families", r.Start, r.End)
	case r.End.Less(r.Start):
		fs.Add(path, "ends at %s before it starts at %s", r.End, r.Start)
	case r.Start.Is6() && !n.NAT.IPv6:
		fs.Add(path, "is IPv6, and IPv6 is not translated; set nat.ipv6")
	}
}

func validateDNS(fs *Findings, n *Network) {
	if why := DomainProblem(n.DNS.Domain); n.DNS.Domain != "" && why != "" {
		fs.Add("dns.domain", "%s", why)
	}
	for i, f := range n.DNS.Forwarders {
		path := index("dns.forwarders", i)
		if f.Domain != "" {
			if why := DomainProblem(f.Domain); why != "" {
				fs.Add(path+".domain", "%s", why)
			}
		}
		if !f.Address.IsValid() || f.Address.Addr().IsUnspecified() || f.Address.Port() == 0 {
			fs.Add(path+".address", "is not the address of a server")
		}
		if f.TLS != "" && DomainProblem(f.TLS) != "" {
			fs.Add(path+".tls.name", "%s", DomainProblem(f.TLS))
		}
		for _, g := range n.Gateways() {
			if f.Address == netip.AddrPortFrom(g, 53) {
				fs.Add(path+".address", "%s is this network's own DNS server: queries would loop", g)
			}
		}
	}
}

// DomainProblem says why d cannot be a domain name (RFC 1035 §2.3.1, with
// leading digits as RFC 1123 §2.1 allows), or "".
func DomainProblem(d string) string {
	if len(d) > 253 {
		return "is longer than 253 characters"
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(d, "."), ".") {
		if !hostRE.MatchString(label) {
			return "\"" + d + "\" is not a domain name: labels are letters, digits and '-', 1 to 63 of them"
		}
	}
	return ""
}
