package reconcile

import (
	"cmp"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/boot/files"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *round) serveBoot(n *netdrv.Network) error {
	cfg := filesConfig(n)
	if len(cfg.Shares) == 0 {
		r.Boot.Remove(n.Name)
		return nil
	}
	return r.Boot.Set(cfg)
}

// filesConfig translates a network for the server of boot files.
func filesConfig(n *netdrv.Network) files.Config {
	cfg := files.Config{Network: n.Name, Interface: n.Bridge.Name}
	for _, s := range n.Subnets {
		if s.ServesFiles() {
			cfg.Shares = append(cfg.Shares, files.Share{Address: s.Address, Root: s.DHCP.Boot.Root, HTTPPort: s.DHCP.Boot.HTTPPort})
		}
	}
	return cfg
}

// bootConfig translates what guests of a subnet are told; nil if nothing.
func bootConfig(s netdrv.Subnet) *boot.Config {
	b := s.DHCP.Boot
	if b == nil {
		return nil
	}
	cfg := &boot.Config{Server: b.Server, HTTPPort: cmp.Or(b.HTTPPort, netdrv.DefaultHTTPPort)}
	if !cfg.Server.IsValid() {
		cfg.Server = s.Address.Addr()
	}
	for _, f := range b.Files {
		out := boot.File{IPXE: f.IPXE, Name: f.File, Params: f.Params}
		if f.Arch.Known {
			out.Arch = (*boot.Arch)(&f.Arch.Number)
		}
		cfg.Files = append(cfg.Files, out)
	}
	return cfg
}
