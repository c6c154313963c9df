package wire

import (
	"net/netip"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *reader) forward(path string, p *vnetv1.Forward) netdrv.Forward {
	f := netdrv.Forward{Listen: r.listen(path+".listen", p.GetListen()), AllowDHCPName: p.GetAllowDhcpName()}
	if p.GetAddress() != "" {
		f.Address = r.addr(path+".address", p.GetAddress())
	}
	f.From = each(path+".from", p.GetFrom(), r.callers)
	var err error
	if f.Guest, f.Ports, err = netdrv.ParseTarget(p.GetTo()); err != nil {
		r.findings.Add(path+".to", "%v", err)
	}
	if f.Ports.IsZero() {
		f.Ports = f.Listen.Ports
	}
	return f
}

// callers reads a prefix, or an address, which is one of full length.
func (r *reader) callers(path, s string) netip.Prefix {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		r.findings.Add(path, "%q is not an address or a prefix, such as 192.0.2.0/24", s)
	}
	return p
}

// listen reads a service that is one protocol.
func (r *reader) listen(path, s string) netdrv.Service {
	services, err := netdrv.ParseService(s)
	switch {
	case s == "":
		r.findings.Add(path, "is missing: give the host's port, such as tcp/8080")
	case err != nil:
		r.findings.Add(path, "%v", err)
	case len(services) > 1:
		r.findings.Add(path, "%s is %s and %s; give one", s, services[0], services[1])
	default:
		return services[0]
	}
	return netdrv.Service{}
}

// ToForward writes a forward of a definition.
func ToForward(f netdrv.Forward) *vnetv1.Forward {
	p := &vnetv1.Forward{Listen: f.Listen.String(), To: f.To(), AllowDhcpName: f.AllowDHCPName}
	if f.Address.IsValid() {
		p.Address = f.Address.String()
	}
	for _, from := range f.From {
		p.From = append(p.From, prefixWord(from))
	}
	return p
}

// FromForward reads a forward.
func FromForward(p *vnetv1.Forward) (netdrv.Forward, netdrv.Findings) {
	var r reader
	return r.forward("", p), r.findings
}
