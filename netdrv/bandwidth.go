package netdrv

import (
	"fmt"
	"hash/fnv"
	"strings"
)

// BitRate is in bits per second.
type BitRate uint64

// Size is in bytes.
type Size uint32

// Rate is what traffic in one direction is limited to. Lengths are those of whole
// Ethernet frames. The zero Rate is no limit.
type Rate struct {
	// Average is what may pass in the long run.
	Average BitRate
	// Peak is how fast a burst may pass; 0 leaves it to the link.
	Peak BitRate
	// Burst is how much may pass at the peak after silence; 0 means DefaultBurst.
	Burst Size
	// Floor is a port's part of its network's rate, whatever others want.
	Floor BitRate
}

// Bandwidth limits what guests receive (In) and send (Out).
type Bandwidth struct{ In, Out Rate }

// NetworkBandwidth limits a network: In and Out are what its guests together
// exchange with the host and with what is beyond it, PerPort is each guest's.
type NetworkBandwidth struct {
	In, Out Rate
	PerPort Bandwidth
}

// limits reports whether the rate is one.
func (r Rate) limits() bool { return r.Average > 0 }

func (r Rate) burst() Size {
	if r.Burst == 0 {
		return DefaultBurst(r.Average)
	}
	return r.Burst
}

// or is the rate where it limits, and another one where not. The floor stays.
func (r Rate) or(other Rate) Rate {
	if !r.limits() {
		floor := r.Floor
		r, r.Floor = other, floor
	}
	return r
}

// Or is what a port is limited to: its own limits, and for the rest what its
// network says of each port.
func (b Bandwidth) Or(perPort Bandwidth) Bandwidth {
	return Bandwidth{In: b.In.or(perPort.In), Out: b.Out.or(perPort.Out)}
}

// The bounds of what a definition may ask for. The kernel counts a burst in
// ticks of 64 ns, 32 bits of them; a minute leaves room.
const (
	minRate      BitRate = 8_000
	maxRate      BitRate = 400_000_000_000
	minBurst     Size    = 1600 // a frame, and a bit
	maxBurstTime         = 60   // seconds at the average
)

// DefaultBurst is what passes in 20 ms, which is how late the timer of a busy
// host may be without anything being lost; and at least two full frames.
func DefaultBurst(r BitRate) Size { return max(Size(r/8/50), 2*1514) }

// A Queue holds what leaves by a link to a rate, in the words of tc-htb(8): one
// class of HTB that everything is in, or the shares below it.
type Queue struct {
	Network, Link string
	Rate, Ceil    BitRate
	Burst, Cburst Size
	// Shares are sorted by MAC: of who sends a frame in an ifb, else of who receives it.
	Classes []Class
}

// Sent reports whether what leaves by a link is what guests send.
func (q *Queue) Egress() bool { return strings.HasPrefix(q.Link, ifbPrefix) }

// newQueue is a rate in HTB's words. Without a peak the burst passes at the speed
// of the link: then Ceil holds nothing back that Rate does not.
func newQueue(network, link string, r Rate) Queue {
	q := Queue{Network: network, Link: link, Rate: r.Average, Ceil: r.Average, Burst: r.burst()}
	q.Cburst = q.Burst
	if r.Peak > 0 {
		q.Ceil, q.Cburst = r.Peak, DefaultBurst(r.Peak)
	}
	return q
}

// like reports whether two queues do the same. The kernel keeps a burst as a time
// in ticks, so that it does not come back to the byte.
func (q Queue) like(o Queue) bool {
	return q.Rate == o.Rate && q.Ceil == o.Ceil && near(q.Burst, o.Burst) && near(q.Cburst, o.Cburst) && sameClasses(q.Classes, o.Classes)
}

func near(a, b Size) bool { return max(a, b)-min(a, b) <= max(a, b)/100+16 }

// A Redirect sends what comes in by a link through a link of kind ifb, where a
// Queue holds it back as if it left there (tc-mirred(8)).
type Redirect struct {
	Network, Link, To string
	// Host, if set: only what is for that MAC or for a group goes there. The rest,
	// guests' frames for each other, goes through the ifb Rest, or is left alone if
	// that is empty.
	Host    MAC
	Default string
}

// IfbName is the ifb that what comes in by a link goes through.
func IfbName(link string) string {
	if len(ifbPrefix+link) <= 15 {
		return ifbPrefix + link
	}
	h := fnv.New32a()
	h.Write([]byte(link))
	return fmt.Sprintf("%s%08x", ifbPrefix, h.Sum32())
}

const ifbPrefix = "ifb-"

// ifb is that link. Its MAC is derived from the name of the link.
func ifb(network, link string) Link {
	h := fnv.New32a()
	h.Write([]byte(link))
	sum := h.Sum32()
	mac := MAC{2, 'v', byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}
	return Link{Network: network, Name: IfbName(link), Kind: KindIfb, MAC: mac, MTU: defaultMTU, Up: true}
}

// leaving keeps what leaves by a link to a rate.
func (s *State) limitEgress(network, link string, r Rate) {
	if r.limits() {
		s.Queues = append(s.Queues, newQueue(network, link, r))
	}
}

// waiting makes the ifb of a link, in which what comes in by it, or by others,
// waits for its turn.
func (s *State) addIfb(network, link string, r Rate) (name string) {
	i := ifb(network, link)
	s.Links = append(s.Links, i)
	s.limitEgress(network, i.Name, r)
	return i.Name
}

// coming keeps what comes in by a link to a rate.
func (s *State) limitIngress(network, link string, r Rate) {
	if r.limits() {
		s.Redirects = append(s.Redirects, Redirect{Network: network, Link: link, To: s.addIfb(network, link, r)})
	}
}

// bandwidths adds what the bandwidth of live networks needs. What a guest
// receives leaves by a bridge and by its port; by a macvtap it comes in, for its
// other end is the guest's file and not a link.
//
// What guests send to the outside is taken at their ports, before the bridge: a
// redirect forgets the connection that a packet belongs to, and br_netfilter looks
// it up only once, in the bridge (net/sched/act_mirred.c: nf_reset_ct,
// net/bridge/br_netfilter_hooks.c: ip_sabotage_in).
//
// So a frame waits once on its way in. Where both the network and its ports are
// limited there, those that are for the outside wait in the network's ifb, in a share
// of their guest's, and those for other guests in the port's.
func (s *State) bandwidths(in Intent) {
	ports, members := map[string]*Port{}, map[string][]Member{}
	for i := range in.Ports {
		ports[in.Ports[i].Link] = &in.Ports[i]
	}
	for _, m := range WithPortMACs(in.Members, in.Ports) {
		members[m.Network] = append(members[m.Network], m)
	}
	limits := func(network *Network, link string) Bandwidth {
		if p := ports[link]; p != nil {
			return p.Bandwidth.Or(network.Bandwidth.PerPort)
		}
		return network.Bandwidth.PerPort
	}
	for i := range in.Live {
		n := &in.Live[i]
		of := func(link string) Bandwidth { return limits(n, link) }
		if n.Mode.OwnsBridge() {
			s.queueToGuests(n, members[n.Name], of)
			s.queueFromGuests(n, members[n.Name], of)
		}
		for _, m := range members[n.Name] {
			s.limitEgress(n.Name, m.Link, of(m.Link).In)
			if !n.Bandwidth.Out.limits() {
				s.limitIngress(n.Name, m.Link, of(m.Link).Out)
			}
		}
	}
	s.macvtaps(in, limits)
}

// macvtaps are the other way round: what the guest receives comes in.
func (s *State) macvtaps(in Intent, limits func(*Network, string) Bandwidth) {
	direct := map[string]*Network{}
	for i := range in.Live {
		if n := &in.Live[i]; n.Mode == DirectLink {
			direct[n.Name] = n
		}
	}
	for i := range in.Ports {
		if p := &in.Ports[i]; direct[p.Network] != nil {
			b := limits(direct[p.Network], p.Link)
			s.limitEgress(p.Network, p.Link, b.Out)
			s.limitIngress(p.Network, p.Link, b.In)
		}
	}
}

// received is what leaves by the bridge, for guests.
func (s *State) queueToGuests(n *Network, members []Member, of func(link string) Bandwidth) {
	if !n.Bandwidth.In.limits() {
		return
	}
	q := newQueue(n.Name, n.Bridge.Name, n.Bandwidth.In)
	q.addClasses(members, func(m *Member) (BitRate, Rate) { return of(m.Link).In.Floor, Rate{} }, Rate{})
	s.Queues = append(s.Queues, q)
}

// sent is what comes in by guests' links, where their network as a whole is limited.
func (s *State) queueFromGuests(n *Network, members []Member, of func(link string) Bandwidth) {
	if !n.Bandwidth.Out.limits() {
		return
	}
	to := s.addIfb(n.Name, n.Bridge.Name, Rate{})
	q := newQueue(n.Name, to, n.Bandwidth.Out)
	q.addClasses(members, func(m *Member) (BitRate, Rate) { return of(m.Link).Out.Floor, of(m.Link).Out }, n.Bandwidth.PerPort.Out)
	s.Queues = append(s.Queues, q)
	for _, m := range members {
		r := Redirect{Network: n.Name, Link: m.Link, To: to, Host: n.Bridge.MAC}
		if own := of(m.Link).Out; own.limits() {
			r.Default = s.addIfb(n.Name, m.Link, own)
		}
		s.Redirects = append(s.Redirects, r)
	}
}

// NeedsMACs reports whether shaping depends on which guest sends, so that the MACs of
// guests have to be known.
func (n *Network) NeedsMACs() bool {
	return n.Bandwidth.Out.limits() && n.Bandwidth.PerPort.Out.limits()
}
