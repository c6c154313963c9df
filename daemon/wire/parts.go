package wire

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *reader) mtu(path, s string) int {
	switch s {
	case "":
		return 0
	case "auto":
		return netdrv.AutoMTU
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		r.findings.Add(path, "%q is not an MTU: give a number of bytes, or auto", s)
	}
	return int(n)
}

func (r *reader) direct(path string, p *vnetv1.Direct) netdrv.Direct {
	d := netdrv.Direct{Uplinks: p.GetUplinks(), HostAccess: p.GetHostAccess()}
	d.Mode = knownIfAny(r, path+".mode", enumWord(p.GetMode()), netdrv.ParseDirectMode, "%s is not known to this version")
	return d
}

func (r *reader) dhcp(path string, p *vnetv1.DHCP) *netdrv.DHCP {
	if p == nil {
		return nil
	}
	return &netdrv.DHCP{
		Ranges:       each(path+".ranges", p.GetRanges(), r.addresses),
		LeaseTime:    r.duration(path+".leaseTime", p.GetLeaseTime()),
		Reservations: each(path+".reservations", p.GetReservations(), r.reservation),
		Stateless:    p.GetStateless(),
		RenewTime:    r.duration(path+".renewTime", p.GetRenewTime()),
		RebindTime:   r.duration(path+".rebindTime", p.GetRebindTime()),
		Options:      r.options(path+".options", p.GetOptions()),
		Tags:         each(path+".tags", p.GetTags(), r.tag),
		Boot:         r.boot(path+".boot", p.GetBoot()),
		Exclude:      each(path+".exclude", p.GetExclude(), r.addresses),
		Relayed:      each(path+".relayed", p.GetRelayed(), r.relayed),
	}
}

func (r *reader) relayed(path string, p *vnetv1.RelayedSubnet) netdrv.RelayedSubnet {
	var router netip.Addr
	if p.GetRouter() != "" {
		router = r.addr(path+".router", p.GetRouter())
	}
	return netdrv.RelayedSubnet{
		Subnet:       r.prefix(path+".subnet", p.GetSubnet()),
		Router:       router,
		Ranges:       each(path+".ranges", p.GetRanges(), r.addresses),
		Exclude:      each(path+".exclude", p.GetExclude(), r.addresses),
		LeaseTime:    r.duration(path+".leaseTime", p.GetLeaseTime()),
		Reservations: each(path+".reservations", p.GetReservations(), r.reservation),
	}
}

func (r *reader) addresses(path string, p *vnetv1.AddressRange) netdrv.Range {
	return netdrv.Range{Start: r.addr(path+".start", p.GetStart()), End: r.addr(path+".end", p.GetEnd())}
}

func (r *reader) reservation(path string, p *vnetv1.Reservation) netdrv.Reservation {
	return netdrv.Reservation{
		MAC:      r.optionalMAC(path+".mac", p.GetMac()),
		ClientID: readClientID(p.GetClientId()),
		DUID:     known(r, path+".duid", p.GetDuid(), octets, "%q is not a DUID in hexadecimal, such as 00:01:00:01:2c:de:ea:a0:52:54:00:aa:bb:01"),
		Address:  r.addr(path+".address", p.GetAddress()),
		Hostname: p.GetHostname(),
		Options:  r.options(path+".options", p.GetOptions()),
		Tags:     p.GetTags(),
		BootFile: r.guestBoot(path+".boot", p.GetBoot()),
	}
}

// octets reads hexadecimal, with or without colons between the octets.
func octets(s string) (string, bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	return string(b), err == nil
}

// duration reads a time that has to be more than nothing, and 0 if absent.
func (r *reader) duration(path string, p *durationpb.Duration) time.Duration {
	if p == nil {
		return 0
	}
	d := p.AsDuration()
	if !p.IsValid() || d <= 0 {
		r.findings.Add(path, "%s is not a length of time that can be used", d)
	}
	return d
}

func choice(b *bool) netdrv.Choice {
	switch {
	case b == nil:
		return netdrv.Default
	case *b:
		return netdrv.Yes
	}
	return netdrv.No
}

func (r *reader) dns(path string, p *vnetv1.DNS) netdrv.DNS {
	if p == nil {
		return netdrv.DNS{}
	}
	return netdrv.DNS{
		Enabled:    choice(p.Enabled),
		Domain:     strings.TrimSuffix(p.GetDomain(), "."),
		LocalOnly:  choice(p.LocalOnly),
		Forwarders: each(path+".forwarders", p.GetForwarders(), r.forwarder),

		RebindProtection: p.GetRebindProtection(),
		Records:          each(path+".records", p.GetRecords(), r.record),
		Peers:            p.GetPeers(),
	}
}

// FromRecord reads a record of a definition.
func FromRecord(p *vnetv1.Record) (netdrv.Record, netdrv.Findings) {
	var r reader
	return r.record("", p), r.findings
}

func (r *reader) record(path string, p *vnetv1.Record) netdrv.Record {
	return netdrv.Record{
		Name:  p.GetName(),
		Type:  strings.ToUpper(p.GetType()),
		Value: p.GetValue(),
		TTL:   r.duration(path+".ttl", p.GetTtl()),
	}
}

// withoutBrackets takes an IPv6 address out of those that only a port needs.
func withoutBrackets(s string) string {
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.Contains(inner, ":") && strings.HasSuffix(inner, "]") {
		return inner[:len(inner)-1]
	}
	return s
}

func (r *reader) forwarder(path string, p *vnetv1.Forwarder) netdrv.Forwarder {
	f := netdrv.Forwarder{Domain: strings.TrimSuffix(p.GetDomain(), "."), TLS: strings.TrimSuffix(p.GetTls().GetName(), ".")}
	if p.GetTls() != nil && f.TLS == "" {
		r.findings.Add(path+".tls.name", "is missing: the name that the server's certificate is for")
	}
	if ap, err := netip.ParseAddrPort(p.GetAddress()); err == nil {
		f.Address = ap
		return f
	}
	if a, err := netip.ParseAddr(withoutBrackets(p.GetAddress())); err == nil {
		f.Address = netip.AddrPortFrom(a.Unmap(), f.DefaultPort())
		return f
	}
	r.findings.Add(path+".address", "%q is not ADDRESS or ADDRESS:PORT", p.GetAddress())
	return f
}

func (r *reader) ra(path string, p *vnetv1.RA) netdrv.RA {
	if p == nil {
		return netdrv.RA{}
	}
	return netdrv.RA{
		Enabled:  choice(p.Enabled),
		Interval: r.duration(path+".interval", p.GetInterval()),
		Lifetime: r.duration(path+".lifetime", p.GetLifetime()),
		Routes:   each(path+".routes", p.GetRoutes(), r.prefix),

		Preference: known(r, path+".preference", p.GetPreference(), netdrv.ParsePreference, "%q is not low, medium or high"),
	}
}

func (r *reader) ports(path string, p *vnetv1.PortRange) netdrv.PortRange {
	if p == nil {
		return netdrv.PortRange{}
	}
	if p.GetStart() > 65535 || p.GetEnd() > 65535 || p.GetStart() == 0 || p.GetEnd() < p.GetStart() {
		r.findings.Add(path, "%d to %d is not a range of ports", p.GetStart(), p.GetEnd())
		return netdrv.PortRange{}
	}
	return netdrv.PortRange{Start: uint16(p.GetStart()), End: uint16(p.GetEnd())}
}

func (r *reader) prefix(path, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		r.findings.Add(path, "%q is not a prefix, such as 10.99.0.0/16", s)
	case p != p.Masked():
		r.findings.Add(path, "%q has bits set behind its prefix length; did you mean %s?", s, p.Masked())
	}
	return p
}

// hostAccess reads the list of services; an absent one is what the mode says.
func (r *reader) hostAccess(path string, mode netdrv.Mode, words []string) netdrv.HostAccess {
	if len(words) == 0 {
		return netdrv.HostAccess{Limited: mode == netdrv.Isolated}
	}
	if len(words) == 1 && words[0] == "all" {
		return netdrv.HostAccess{}
	}
	h := netdrv.HostAccess{Limited: true}
	if len(words) == 1 && words[0] == "none" {
		return h
	}
	for i, w := range words {
		s, err := netdrv.ParseService(w)
		switch {
		case w == "all" || w == "none":
			r.findings.Add(index(path, i), "%s stands alone", w)
		case err != nil:
			r.findings.Add(index(path, i), "%v", err)
		}
		h.Services = append(h.Services, s...)
	}
	return h
}
