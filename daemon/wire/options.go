package wire

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *reader) options(path string, p *vnetv1.DHCPOptions) netdrv.Options {
	if p == nil {
		return netdrv.Options{}
	}
	return netdrv.Options{
		Routers:    each(path+".routers", p.GetRouters(), r.addr),
		DNSServers: each(path+".dnsServers", p.GetDnsServers(), r.addr),
		Domain:     strings.TrimSuffix(p.GetDomain(), "."),
		Search:     each(path+".search", p.GetSearch(), func(_, d string) string { return strings.TrimSuffix(d, ".") }),
		Routes: each(path+".routes", p.GetRoutes(), func(path string, p *vnetv1.DHCPRoute) netdrv.OptionRoute {
			return netdrv.OptionRoute{Destination: r.prefix(path+".destination", p.GetDestination()), Via: r.addr(path+".via", p.GetVia())}
		}),
		MTU:            int(p.GetMtu()),
		NTPServers:     each(path+".ntpServers", p.GetNtpServers(), r.addr),
		Vendor:         r.hex(path+".vendor", p.GetVendor()),
		VendorClass:    p.GetVendorClass(),
		TFTPServerName: p.GetTftpServerName(),
		BootFile:       p.GetBootFile(),
		IPv6OnlyWait:   r.duration(path+".ipv6OnlyWait", p.GetIpv6OnlyWait()),
		CaptivePortal:  p.GetCaptivePortal(),
		RefreshTime:    r.duration(path+".informationRefreshTime", p.GetInformationRefreshTime()),
		SolMaxRT:       r.duration(path+".solMaxRt", p.GetSolMaxRt()),
		InfMaxRT:       r.duration(path+".infMaxRt", p.GetInfMaxRt()),
		Custom:         each(path+".custom", p.GetCustom(), r.customOption),
		Omit:           p.GetOmit(),
	}
}

func (r *reader) hex(path, s string) string {
	return known(r, path, s, octets, "%q is not octets in hexadecimal, such as 01:04:c0:a8:0a:01")
}

// customOption reads the one value that an option has.
func (r *reader) customOption(path string, p *vnetv1.DHCPCustomOption) netdrv.CustomOption {
	o := netdrv.CustomOption{Code: int(p.GetCode())}
	give := func(form netdrv.OptionForm, value string) {
		if o.Form != "" {
			r.findings.Add(path, "has both %s and %s; give one value", o.Form, form)
		}
		o.Form, o.Value = form, value
	}
	addrs := p.GetAddresses()
	if p.GetAddress() != "" {
		addrs = append([]string{p.GetAddress()}, addrs...)
	}
	if addrs != nil {
		give(r.addrOctets(path, addrs))
	}
	if p.GetText() != "" {
		give(netdrv.FormText, p.GetText())
	}
	if p.GetHex() != "" {
		give(netdrv.FormHex, r.hex(path+".hex", p.GetHex()))
	}
	for _, n := range []struct {
		form  netdrv.OptionForm
		value *uint32
		size  int
	}{{netdrv.FormU8, p.U8, 1}, {netdrv.FormU16, p.U16, 2}, {netdrv.FormU32, p.U32, 4}} {
		if n.value != nil {
			if most := uint64(math.MaxUint64) >> (64 - 8*n.size); uint64(*n.value) > most {
				r.findings.Add(path+"."+string(n.form), "%d is more than %d", *n.value, most)
			}
			give(n.form, string(binary.BigEndian.AppendUint32(nil, *n.value)[4-n.size:]))
		}
	}
	if p.GetDomains() != nil {
		give(netdrv.FormDomains, r.domains(path+".domains", p.GetDomains()))
	}
	if o.Form == "" {
		r.findings.Add(path, "has no value: give address, addresses, text, hex, u8, u16, u32 or domains")
	}
	return o
}

// addrOctets reads addresses of one family.
func (r *reader) addrOctets(path string, addrs []string) (netdrv.OptionForm, string) {
	form := netdrv.FormIPv4
	var b []byte
	for i, s := range addrs {
		at := index(path+".addresses", i)
		if len(addrs) == 1 {
			at = path + ".address"
		}
		a := r.addr(at, s)
		if i == 0 && a.Is6() {
			form = netdrv.FormIPv6
		}
		if a.IsValid() && a.Is6() != (form == netdrv.FormIPv6) {
			r.findings.Add(at, "%s is of another family than the first", a)
		}
		b = append(b, a.AsSlice()...)
	}
	return form, string(b)
}

// domains writes domains in the DNS's format, RFC 1035 section 3.1.
func (r *reader) domains(path string, domains []string) string {
	var b strings.Builder
	for i, d := range domains {
		d = strings.TrimSuffix(d, ".")
		if why := netdrv.DomainProblem(d); why != "" {
			r.findings.Add(index(path, i), "%s", why)
			continue
		}
		for label := range strings.SplitSeq(d, ".") {
			b.WriteByte(byte(len(label)))
			b.WriteString(label)
		}
		b.WriteByte(0)
	}
	return b.String()
}

func (r *reader) tag(path string, p *vnetv1.DHCPTag) netdrv.Tag {
	m := p.GetMatch()
	t := netdrv.Tag{
		Name:    p.GetName(),
		Match:   netdrv.OptionMatch{VendorClass: m.GetVendorClass(), UserClass: m.GetUserClass(), Hostname: m.GetHostname()},
		Options: r.options(path+".options", p.GetOptions()),
	}
	var ok bool
	if t.Match.MACPrefix, ok = octets(m.GetMacPrefix()); !ok {
		r.findings.Add(path+".match.macPrefix", "%q is not the first octets of an Ethernet address, such as 52:54:00", m.GetMacPrefix())
	}
	if m != nil && ok && t.Match == (netdrv.OptionMatch{}) {
		r.findings.Add(path+".match", "matches no client: give vendorClass, userClass, macPrefix or hostname, or leave it out for a tag that reservations name")
	}
	return t
}

func toOptions(o netdrv.Options) *vnetv1.DHCPOptions {
	if o.IsZero() {
		return nil
	}
	p := &vnetv1.DHCPOptions{
		Routers: all(o.Routers, netip.Addr.String), DnsServers: all(o.DNSServers, netip.Addr.String), Domain: o.Domain, Search: o.Search,
		Mtu: uint32(o.MTU), NtpServers: all(o.NTPServers, netip.Addr.String), Vendor: colons(o.Vendor), VendorClass: o.VendorClass,
		TftpServerName: o.TFTPServerName, BootFile: o.BootFile, Ipv6OnlyWait: toDuration(o.IPv6OnlyWait),
		CaptivePortal: o.CaptivePortal, InformationRefreshTime: toDuration(o.RefreshTime),
		SolMaxRt: toDuration(o.SolMaxRT), InfMaxRt: toDuration(o.InfMaxRT), Omit: o.Omit,
	}
	for _, r := range o.Routes {
		p.Routes = append(p.Routes, &vnetv1.DHCPRoute{Destination: r.Destination.String(), Via: r.Via.String()})
	}
	p.Custom = all(o.Custom, toCustomOption)
	return some(p)
}

// colons writes octets as Ethernet addresses are written.
func colons(octets string) string {
	var out []string
	for _, o := range []byte(octets) {
		out = append(out, hex.EncodeToString([]byte{o}))
	}
	return strings.Join(out, ":")
}

func toCustomOption(o netdrv.CustomOption) *vnetv1.DHCPCustomOption {
	p := &vnetv1.DHCPCustomOption{Code: uint32(o.Code)}
	switch o.Form {
	case netdrv.FormIPv4, netdrv.FormIPv6:
		if p.Addresses = fromAddrs(o); len(p.Addresses) == 1 {
			p.Address, p.Addresses = p.Addresses[0], nil
		}
	case netdrv.FormText:
		p.Text = o.Value
	case netdrv.FormHex:
		p.Hex = colons(o.Value)
	case netdrv.FormU8:
		p.U8 = fromNumber(o.Value)
	case netdrv.FormU16:
		p.U16 = fromNumber(o.Value)
	case netdrv.FormU32:
		p.U32 = fromNumber(o.Value)
	case netdrv.FormDomains:
		p.Domains = fromNames(o.Value)
	}
	return p
}

func fromAddrs(o netdrv.CustomOption) []string {
	size := 4
	if o.Form == netdrv.FormIPv6 {
		size = 16
	}
	var out []string
	for octets := range slices.Chunk([]byte(o.Value), size) {
		a, _ := netip.AddrFromSlice(octets)
		out = append(out, a.String())
	}
	return out
}

func fromNumber(octets string) *uint32 {
	var v uint32
	for _, o := range []byte(octets) {
		v = v<<8 | uint32(o)
	}
	return proto.Uint32(v)
}

func fromNames(b string) []string {
	var out []string
	var labels []string
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 {
			out, labels, b = append(out, strings.Join(labels, ".")), nil, b[1:]
			continue
		}
		labels, b = append(labels, b[1:1+n]), b[1+n:]
	}
	return out
}

func toTag(t netdrv.Tag) *vnetv1.DHCPTag {
	m := t.Match
	return &vnetv1.DHCPTag{Name: t.Name, Options: toOptions(t.Options), Match: some(&vnetv1.DHCPMatch{
		VendorClass: m.VendorClass, UserClass: m.UserClass, MacPrefix: colons(m.MACPrefix), Hostname: m.Hostname,
	})}
}
