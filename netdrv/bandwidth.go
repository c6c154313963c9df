package netdrv

import (
	"fmt"
	"hash/fnv"
)

// BitRate is in bits per second.
type BitRate uint64

// Size is in bytes.
type Size uint32

// Rate is what traffic in one direction is kept to. Lengths are those of whole
// Ethernet frames. The zero Rate is no limit.
type Rate struct {
	// Average is what may pass in the long run.
	Average BitRate
	// Peak is how fast a burst may pass; 0 leaves it to the link.
	Peak BitRate
	// Burst is how much may pass at the peak after silence; 0 means DefaultBurst.
	Burst Size
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
// class of HTB that everything is in.
type Queue struct {
	Network, Link string
	Rate, Ceil    BitRate
	Burst, Cburst Size
}

// newQueue is a rate in HTB's words. Without a peak the burst passes at the speed
// of the link: then Ceil holds nothing back that Rate does not.
func newQueue(network, link string, r Rate) Queue {
	q := Queue{Network: network, Link: link, Rate: r.Average, Ceil: r.Average, Burst: r.Burst}
	if q.Burst == 0 {
		q.Burst = DefaultBurst(r.Average)
	}
	q.Cburst = q.Burst
	if r.Peak > 0 {
		q.Ceil, q.Cburst = r.Peak, DefaultBurst(r.Peak)
	}
	return q
}

// like reports whether two queues do the same. The kernel keeps a burst as a time
// in ticks, so that it does not come back to the byte.
func (q Queue) like(o Queue) bool {
	return q.Rate == o.Rate && q.Ceil == o.Ceil && near(q.Burst, o.Burst) && near(q.Cburst, o.Cburst)
}

func near(a, b Size) bool { return max(a, b)-min(a, b) <= max(a, b)/100+16 }

// A Redirect sends what comes in by a link through a link of kind ifb, where a
// Queue holds it back as if it left there (tc-mirred(8)).
type Redirect struct {
	Network, Link, To string
	// Host, if set, leaves alone what is neither for that MAC nor for a group:
	// guests' frames for each other.
	Host MAC
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

// ifb is that link. Its MAC is nobody's, and the same every time.
func ifb(network, link string) Link {
	h := fnv.New32a()
	h.Write([]byte(link))
	sum := h.Sum32()
	mac := MAC{2, 'v', byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}
	return Link{Network: network, Name: IfbName(link), Kind: KindIfb, MAC: mac, MTU: defaultMTU, Up: true}
}

// leaving keeps what leaves by a link to a rate.
func (s *State) leaving(network, link string, r Rate) {
	if r.limits() {
		s.Queues = append(s.Queues, newQueue(network, link, r))
	}
}

// coming keeps what comes in by all of some links together to a rate, in the ifb of
// the link named; see Redirect for host.
func (s *State) coming(network, named string, links []string, host MAC, r Rate) {
	if !r.limits() {
		return
	}
	i := ifb(network, named)
	s.Links = append(s.Links, i)
	s.leaving(network, i.Name, r)
	for _, l := range links {
		s.Redirects = append(s.Redirects, Redirect{network, l, i.Name, host})
	}
}

// port keeps what leaves by a guest's link, and what comes in by it, to a rate each.
func (s *State) port(network, link string, leaves, comes Rate) {
	s.leaving(network, link, leaves)
	s.coming(network, link, []string{link}, MAC{}, comes)
}

// bandwidths adds what the bandwidth of live networks needs. What a guest
// receives leaves by a bridge and by its port; by a macvtap it comes in, for its
// other end is the guest's file and not a link.
//
// What guests send to the outside is taken at their ports, before the bridge: a
// redirect forgets the connection that a packet belongs to, and br_netfilter looks
// it up only once, in the bridge (net/sched/act_mirred.c: nf_reset_ct,
// net/bridge/br_netfilter_hooks.c: ip_sabotage_in).
func (s *State) bandwidths(in Intent) {
	per, ports, direct := map[string]Bandwidth{}, map[string][]string{}, map[string]bool{}
	for _, m := range in.Members {
		ports[m.Network] = append(ports[m.Network], m.Link)
	}
	for i := range in.Live {
		n := &in.Live[i]
		per[n.Name], direct[n.Name] = n.Bandwidth.PerPort, n.Mode == DirectLink
		if n.Mode.OwnsBridge() {
			s.leaving(n.Name, n.Bridge.Name, n.Bandwidth.In)
			s.coming(n.Name, n.Bridge.Name, ports[n.Name], n.Bridge.MAC, n.Bandwidth.Out)
		}
	}
	for _, m := range in.Members {
		s.port(m.Network, m.Link, per[m.Network].In, per[m.Network].Out)
	}
	for i := range in.Ports {
		if p := &in.Ports[i]; direct[p.Network] { // taps are members
			s.port(p.Network, p.Link, per[p.Network].Out, per[p.Network].In)
		}
	}
}
