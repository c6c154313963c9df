package netdrv

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func validateSubnets(fs *Findings, n *Network) {
	if len(n.Subnets) == 0 && n.Mode.Forwards() && n.Mode != Open {
		fs.Add("subnets", "are missing: mode %s needs at least one address, such as {address: 192.168.100.1/24}", n.Mode)
	}
	if len(n.Subnets) > 0 && (n.Mode == ExistingBridge || n.Mode == DirectLink && !n.Direct.HostAccess) {
		fs.Add("subnets", "are not vnetd's in mode %s: addresses, DHCP and DNS come from the network outside", n.Mode)
		return
	}
	validateOverlaps(fs, n)
	boots6 := false
	for i := range n.Subnets {
		s, path := &n.Subnets[i], index("subnets", i)
		validateAddress(fs, path+".address", s.Address)
		if !s.Address.IsValid() {
			continue
		}
		validateSLAAC(fs, n, path, s)
		if s.DHCP == nil {
			continue
		}
		if n.Mode == DirectLink {
			fs.Add(path+".dhcp", "is the outside network's business in mode direct; leave it out")
		}
		if boots6 && s.IsIPv6() && s.DHCP.Boot != nil {
			fs.Add(path+".dhcp.boot", "is the second of this network's IPv6: guests of all its subnets are told the same; leave one out")
		}
		boots6 = boots6 || s.IsIPv6() && s.DHCP.Boot != nil
		validateDHCP(fs, path+".dhcp", *s)
	}
	validateRelayed(fs, n)
	validateReservedNames(fs, n)
}

func validateOverlaps(fs *Findings, n *Network) {
	all := newRangeIndex(rangesOf(n.prefixes()[:len(n.Subnets)]))
	for _, p := range all.overlaps() {
		fs.Add(index("subnets", p[0])+".address", "%s overlaps %s.address %s", n.Subnets[p[0]].Address, index("subnets", p[1]), n.Subnets[p[1]].Address)
	}
}

// validateSLAAC: guests make addresses of 64-bit prefixes only (RFC 4862
// section 5.5.3, with RFC 4291 section 2.5.1).
func validateSLAAC(fs *Findings, n *Network, path string, s *Subnet) {
	switch {
	case !s.IsIPv6():
		if s.SLAAC != Default {
			fs.Add(path+".slaac", "is for IPv6 subnets")
		}
	case s.Address.Bits() == 64:
	case s.SLAAC == Yes:
		fs.Add(path+".slaac", "%s cannot be used for SLAAC, which needs a /64", s.Address.Masked())
	case s.SLAAC == Default && !s.Stateful() && n.RA.Enabled != No && n.Mode.OwnsBridge():
		fs.Add(path+".address", "%s is no prefix for SLAAC, which needs a /64: use a /64, give dhcp.ranges, or say slaac: false if guests configure themselves", s.Address)
	}
}

func validateAddress(fs *Findings, path string, p netip.Prefix) {
	switch a := p.Addr(); {
	case !p.IsValid():
		fs.Add(path, "is missing")
	case a.Is4In6(), a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		fs.Add(path, "%s cannot be a gateway's address", a)
	case a.IsLinkLocalUnicast():
		fs.Add(path, "%s is link-local, which the kernel manages by itself", a)
	case a.Is4() && p.Bits() > 30, a.Is6() && p.Bits() > 126:
		fs.Add(path, "%s leaves no room for a guest", p)
	case p.Bits() < 8:
		fs.Add(path, "%s is wider than a /8", p)
	case a == p.Masked().Addr():
		fs.Add(path, "%s is the network's own address; the gateway is a host in it, such as %s", a, netip.PrefixFrom(a.Next(), p.Bits()))
	case a.Is4() && a == Broadcast(p):
		fs.Add(path, "%s is the broadcast address of %s", a, p.Masked())
	}
}

// Broadcast returns the last address of p.
func Broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := range b {
		if host := (i+1)*8 - p.Bits(); host >= 8 {
			b[i] = 0xff
		} else if host > 0 {
			b[i] |= 1<<host - 1
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func validateDHCP(fs *Findings, path string, s Subnet) {
	d := s.DHCP
	nothing := len(d.Ranges) == 0 && len(d.Reservations) == 0 && len(d.Relayed) == 0
	switch {
	case d.Stateless && !s.IsIPv6():
		fs.Add(path+".stateless", "is for IPv6 subnets")
	case d.Stateless && !nothing:
		fs.Add(path+".stateless", "gives no addresses; leave out ranges and reservations, or stateless")
	case nothing && !d.Stateless:
		fs.Add(path, "has neither ranges nor reservations: nothing could be handed out")
	}
	validateLeaseTime(fs, path, d.LeaseTime)
	validateRanges(fs, path, d.Ranges, d.Exclude, s.Address)
	own := Range{s.Address.Addr(), s.Address.Addr()}
	if left := newRangeIndex(d.Pools()); left.overlapping(own) >= 0 && len(without(left.all, []Range{own})) == 0 {
		fs.Add(path+".ranges", "hold %s only, the gateway's own address: nothing could be handed out", own.Start)
	}
	if d.Boot != nil {
		validateBoot(fs, path+".boot", d.Boot, s.Address)
	}
	validateReservations(fs, path+".reservations", d.Reservations, d.Boot, s.Address)
	validateTold(fs, path, s)
}

func validateLeaseTime(fs *Findings, path string, d time.Duration) {
	if d != 0 && d < MinLeaseTime {
		fs.Add(path+".leaseTime", "%s is shorter than %s", d, MinLeaseTime)
	}
}

func validateRanges(fs *Findings, path string, ranges, exclude []Range, subnet netip.Prefix) {
	for i, r := range ranges {
		at := index(path+".ranges", i)
		validateRange(fs, at, r, subnet)
	}
	all := newRangeIndex(ranges)
	for _, p := range all.overlaps() {
		r, o := ranges[p[0]], ranges[p[1]]
		fs.Add(index(path+".ranges", p[0]), "%s to %s overlaps ranges[%d], %s to %s", r.Start, r.End, p[1], o.Start, o.End)
	}
	for i, x := range exclude {
		at := index(path+".exclude", i)
		switch {
		case !x.Start.IsValid() || !x.End.IsValid():
		case x.End.Less(x.Start):
			fs.Add(at, "ends at %s before it starts at %s", x.End, x.Start)
		case all.overlapping(x) < 0:
			fs.Add(at, "%s to %s is in none of the ranges", x.Start, x.End)
		}
	}
	if len(ranges) > 0 && len(without(ranges, exclude)) == 0 {
		fs.Add(path+".exclude", "leaves nothing of the ranges")
	}
}

func validateRange(fs *Findings, path string, r Range, subnet netip.Prefix) {
	if !r.Start.IsValid() || !r.End.IsValid() {
		return // the parser of the addresses has said so
	}
	for _, end := range []struct {
		name string
		addr netip.Addr
	}{{".start", r.Start}, {".end", r.End}} {
		if why := hostProblem(end.addr, subnet); why != "" {
			fs.Add(path+end.name, "%s", why)
		}
	}
	switch {
	case r.End.Less(r.Start):
		fs.Add(path, "ends at %s before it starts at %s", r.End, r.Start)
	case r.Start.Is4() && rangeSize(r) > maxRange:
		fs.Add(path, "%s to %s holds more than %d addresses", r.Start, r.End, maxRange)
	}
}

// hostProblem says why a cannot be a guest's address in subnet, or "".
func hostProblem(a netip.Addr, subnet netip.Prefix) string {
	switch {
	case !subnet.Contains(a):
		return fmt.Sprintf("%s is outside %s", a, subnet.Masked())
	case a == subnet.Masked().Addr():
		return fmt.Sprintf("%s is the network address of %s", a, subnet.Masked())
	case a.Is4() && a == Broadcast(subnet):
		return fmt.Sprintf("%s is the broadcast address of %s", a, subnet.Masked())
	}
	return ""
}

func rangeSize(r Range) uint64 {
	s, e := r.Start.As16(), r.End.As16()
	var size uint64
	for i := range 16 {
		size = size<<8 + uint64(e[i]) - uint64(s[i])
	}
	return size + 1
}

func validateReservations(fs *Findings, path string, rs []Reservation, boot *Boot, subnet netip.Prefix) {
	keys, addrs, names := map[string]int{}, map[netip.Addr]int{}, map[string]int{}
	for i, r := range rs {
		at := index(path, i)
		validateGuestBoot(fs, at+".boot", r, boot)
		validateClient(fs, at, r, subnet)
		if key := r.key(); key != "" {
			once(fs, at+r.keyField(), path, keys, key, i)
		}
		if why := reservedProblem(r.Address, subnet); why != "" {
			fs.Add(at+".address", "%s", why)
		} else {
			once(fs, at+".address", path, addrs, r.Address, i)
		}
		if r.Hostname == "" {
			continue
		}
		if !hostRE.MatchString(r.Hostname) {
			fs.Add(at+".hostname", "%q is not a host name: letters, digits and '-', 1 to 63, no dots", r.Hostname)
		}
		once(fs, at+".hostname", path, names, strings.ToLower(r.Hostname), i)
	}
}

// key is how the guest is known, for a person; "" if by its hostname.
func (r *Reservation) key() string {
	switch {
	case !r.MAC.IsZero():
		return r.MAC.String()
	case r.ClientID != "":
		return fmt.Sprintf("client identifier %x", r.ClientID)
	case r.DUID != "":
		return fmt.Sprintf("%x", r.DUID)
	}
	return ""
}

func (r *Reservation) keyField() string {
	switch {
	case !r.MAC.IsZero():
		return ".mac"
	case r.ClientID != "":
		return ".clientId"
	}
	return ".duid"
}

// validateClient is about the one that a reservation is for.
func validateClient(fs *Findings, at string, r Reservation, subnet netip.Prefix) {
	switch {
	case r.ClientID != "" && !subnet.Addr().Is4():
		fs.Add(at+".clientId", "is for IPv4; in IPv6 a reservation is by mac, duid or hostname")
	case r.ClientID != "" && !r.MAC.IsZero():
		fs.Add(at+".clientId", "excludes mac; give one of the two")
	case len(r.ClientID) > 255:
		fs.Add(at+".clientId", "is %d octets long; a client identifier has at most 255", len(r.ClientID))
	case r.DUID != "" && (!r.MAC.IsZero() || r.ClientID != ""):
		fs.Add(at+".duid", "excludes mac and clientId; give one of them")
	case r.DUID != "" && (len(r.DUID) < 3 || len(r.DUID) > 130): // RFC 8415 section 11.1
		fs.Add(at+".duid", "is %d octets long; a DUID has 3 to 130", len(r.DUID))
	case r.ByName() && r.Hostname == "":
		fs.Add(at+".mac", "is missing; a reservation is by mac, clientId, duid or hostname")
	case r.MAC.IsMulticast():
		fs.Add(at+".mac", "%s is a multicast address, which no guest can have", r.MAC)
	}
}

func reservedProblem(a netip.Addr, subnet netip.Prefix) string {
	if !a.IsValid() {
		return "is missing"
	}
	if a == subnet.Addr() {
		return fmt.Sprintf("%s is the gateway's own address", a)
	}
	return hostProblem(a, subnet)
}

// once reports a key that an earlier element of the list has used.
func once[K comparable](fs *Findings, at, list string, seen map[K]int, key K, i int) {
	if j, ok := seen[key]; ok {
		fs.Add(at, "%v is given already in %s", key, index(list, j))
		return
	}
	seen[key] = i
}
