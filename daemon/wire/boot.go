package wire

import (
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *reader) boot(path string, p *vnetv1.Boot) *netdrv.Boot {
	if p == nil {
		return nil
	}
	b := &netdrv.Boot{
		Root:     p.GetRoot(),
		HTTPPort: uint16(p.GetHttpPort()),
		Files:    each(path+".files", p.GetFiles(), r.bootFile),
	}
	if p.GetHttpPort() > 65535 {
		r.findings.Add(path+".httpPort", "%d is not a port", p.GetHttpPort())
	}
	if p.GetServer() != "" {
		b.Server = r.addr(path+".server", p.GetServer())
	}
	return b
}

func (r *reader) bootFile(path string, p *vnetv1.BootFile) netdrv.BootFile {
	f := netdrv.BootFile{IPXE: p.GetClient() == "ipxe", File: p.GetFile(), Params: p.GetParams()}
	var ok bool
	if f.Arch, ok = netdrv.ParseBootArch(p.GetArch()); !ok {
		r.findings.Add(path+".arch", "%q is no processor architecture type: use bios, efi-x86-64, efi-arm64, http-x86-64, http-arm64 and so on, or IANA's number", p.GetArch())
	}
	if p.GetClient() != "" && !f.IPXE {
		r.findings.Add(path+".client", "%q is not known; ipxe is the one kind of client that has a name", p.GetClient())
	}
	return f
}

func (r *reader) guestBoot(path string, p *vnetv1.GuestBoot) string {
	if p != nil && p.GetFile() == "" {
		r.findings.Add(path+".file", "is missing")
	}
	return p.GetFile()
}

func toBoot(b *netdrv.Boot) *vnetv1.Boot {
	if b == nil {
		return nil
	}
	p := &vnetv1.Boot{Root: b.Root, HttpPort: uint32(b.HTTPPort)}
	if b.Server.IsValid() {
		p.Server = b.Server.String()
	}
	for _, f := range b.Files {
		file := &vnetv1.BootFile{Arch: f.Arch.String(), File: f.File, Params: f.Params}
		if f.IPXE {
			file.Client = "ipxe"
		}
		p.Files = append(p.Files, file)
	}
	return p
}
