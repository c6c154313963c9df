package wire

import (
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *reader) filter(path string, p *vnetv1.Filter) netdrv.Filter {
	preset, ok := netdrv.ParsePreset(p.GetPreset())
	if !ok {
		r.findings.Add(path+".preset", "%q is not a preset: use clean-traffic or none", p.GetPreset())
	}
	return netdrv.Filter{Preset: preset, Isolated: p.GetIsolated()}
}

func toFilter(f netdrv.Filter) *vnetv1.Filter {
	p := &vnetv1.Filter{Isolated: f.Isolated}
	if f.Preset != netdrv.Unfiltered {
		p.Preset = f.Preset.String()
	}
	return some(p)
}
