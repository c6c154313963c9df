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
		fs.Add("mode", "is not set: use nat, route, open or isolated")
	}
	validateBridge(&fs, n.Bridge)
	validateSubnets(&fs, n)
	validateDNS(&fs, n)
	validateNAT(&fs, n)
	return fs
}

func validateBridge(fs *Findings, b Bridge) {
	if why := LinkNameProblem(b.Name); why != "" {
		fs.Add("bridge.name", "%s", why)
	}
	if b.MAC.IsMulticast() {
		fs.Add("bridge.mac", "%s is a multicast address; the first octet must be even", b.MAC)
	}
	// 68 is the smallest that IPv4 works with (RFC 791), 65535 the kernel's
	// ETH_MAX_MTU.
	if b.MTU != 0 && (b.MTU < 68 || b.MTU > 65535) {
		fs.Add("bridge.mtu", "%d is outside 68 to 65535", b.MTU)
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
	p := n.NAT.Ports
	if p.IsZero() {
		return
	}
	if n.Mode != NAT {
		fs.Add("nat", "is for mode nat; this network's mode is %s", n.Mode)
	}
	if p.Start == 0 || p.End < p.Start {
		fs.Add("nat.ports", "%d to %d is not a range of ports", p.Start, p.End)
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
