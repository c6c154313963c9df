package wire

import (
	"strconv"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/netdrv"
)

// FromPort reads a port. An owner is a number here; who asks for one by name is
// translated before.
func FromPort(p *vnetv1.Port) (netdrv.Port, netdrv.Findings) {
	var r reader
	return netdrv.Port{
		Network:   p.GetNetwork(),
		Link:      p.GetLink(),
		Guest:     p.GetGuest(),
		MAC:       r.optionalMAC("mac", p.GetMac()),
		Addresses: each("addresses", p.GetAddresses(), r.addr),
		Owner:     r.uid("owner", p.GetOwner()),
		Queues:    int(min(p.GetQueues(), netdrv.MaxQueues+1)),
		Uplink:    p.GetUplink(),
		Bandwidth: r.bandwidth("bandwidth", p.GetBandwidth()),
		Transient: p.GetTransient(),
		Holder:    netdrv.Process{PID: int(p.GetPid()), Started: p.GetPidStarted()},
		Granted:   p.GetGrantedBy(),
		Filter:    r.filter("filter", p.GetFilter()),
	}, r.findings
}

// ToPort writes a port. FromPort reads it back the same.
func ToPort(p *netdrv.Port) *vnetv1.Port {
	out := &vnetv1.Port{
		Network:    p.Network,
		Link:       p.Link,
		Guest:      p.Guest,
		Queues:     uint32(p.Queues),
		Uplink:     p.Uplink,
		Bandwidth:  ToBandwidth(p.Bandwidth),
		Transient:  p.Transient,
		Pid:        uint32(p.Holder.PID),
		PidStarted: p.Holder.Started,
		GrantedBy:  p.Granted,
		Filter:     toFilter(p.Filter),
	}
	if !p.MAC.IsZero() {
		out.Mac = p.MAC.String()
	}
	if p.Owner != 0 {
		out.Owner = strconv.FormatUint(uint64(p.Owner), 10)
	}
	for _, a := range p.Addresses {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out
}

func (r *reader) uid(path, s string) uint32 {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		r.findings.Add(path, "%q is no user of this host; give a name that it knows, or a number", s)
	}
	return uint32(n)
}
