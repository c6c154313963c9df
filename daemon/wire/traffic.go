package wire

import (
	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *reader) bandwidth(path string, p *vnetv1.Bandwidth) netdrv.Bandwidth {
	return netdrv.Bandwidth{In: r.rate(path+".in", p.GetIn()), Out: r.rate(path+".out", p.GetOut())}
}

func (r *reader) rate(path string, p *vnetv1.Rate) netdrv.Rate {
	return netdrv.Rate{
		Average: quantity(r, path+".average", p.GetAverage(), netdrv.ParseBitRate),
		Peak:    quantity(r, path+".peak", p.GetPeak(), netdrv.ParseBitRate),
		Burst:   quantity(r, path+".burst", p.GetBurst(), netdrv.ParseSize),
		Floor:   quantity(r, path+".floor", p.GetFloor(), netdrv.ParseBitRate),
	}
}

// quantity reads a number with a unit, which has to be more than nothing, and 0 if
// absent.
func quantity[T ~uint32 | ~uint64](r *reader, path, s string, parse func(string) (T, error)) T {
	if s == "" {
		return 0
	}
	v, err := parse(s)
	switch {
	case err != nil:
		r.findings.Add(path, "%v", err)
	case v == 0:
		r.findings.Add(path, "would let nothing pass; leave it out for no limit")
	}
	return v
}

// ToBandwidth is nil for one that limits nothing.
func ToBandwidth(b netdrv.Bandwidth) *vnetv1.Bandwidth {
	return some(&vnetv1.Bandwidth{In: toRate(b.In), Out: toRate(b.Out)})
}

func toRate(r netdrv.Rate) *vnetv1.Rate {
	return some(&vnetv1.Rate{
		Average: word(r.Average), Peak: word(r.Peak), Burst: word(r.Burst), Floor: word(r.Floor),
	})
}

// word is empty for 0, which is no limit.
func word[T interface {
	~uint32 | ~uint64
	String() string
}](v T,
) string {
	if v == 0 {
		return ""
	}
	return v.String()
}

// ToCounters is what has passed, as the contract has it.
func ToCounters(c netdrv.Counters) *vnetv1.Counters {
	return &vnetv1.Counters{
		RxBytes: c.RxBytes, RxPackets: c.RxPackets, RxDrops: c.RxDrops,
		TxBytes: c.TxBytes, TxPackets: c.TxPackets, TxDrops: c.TxDrops,
	}
}
