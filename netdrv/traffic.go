package netdrv

import (
	"fmt"
	"slices"
	"strings"
)

type (
	// QueueSet makes the queue of what leaves by a link, or changes its rates
	// while frames pass. Have has no Link if there is none of ours.
	QueueSet struct{ Queue, Have Queue }
	// QueueDel removes it: the link has what it had when it was made.
	QueueDel struct{ Link string }
	// RedirectAdd sends what comes in by a link through an ifb; RedirectDel ends
	// that.
	RedirectAdd struct{ Redirect Redirect }
	RedirectDel struct{ Link string }
)

// Handle is the major number of our queues, "vn" in ASCII, and the priority of our
// filters: `tc` shows 766e: and pref 30318.
const Handle = 0x766e

// RestPref is the priority of the filters that take what others have not.
const DefaultPref = Handle + 1

func (s QueueSet) String() string {
	q, root := s.Queue, ""
	if s.Have.Link == "" {
		root = fmt.Sprintf("tc qdisc replace dev %s root handle %x: htb default 1 && ", q.Link, Handle)
	}
	out := []string{root + fmt.Sprintf("tc class replace dev %s parent %x: classid %x:1 htb rate %s ceil %s burst %d cburst %d",
		q.Link, Handle, Handle, q.Rate, q.Ceil, q.Burst, q.Cburst)}
	for i := range q.Classes {
		out = append(out, s.classCommand(&q.Classes[i]))
	}
	for i := range s.Have.Classes {
		if h := &s.Have.Classes[i]; !q.has(h.Minor) {
			out = append(out, fmt.Sprintf("tc class del dev %s classid %x:%x", q.Link, Handle, h.Minor))
		}
	}
	return strings.Join(out, " && ")
}

func (q *Queue) has(class uint16) bool {
	return slices.ContainsFunc(q.Classes, func(s Class) bool { return s.Minor == class })
}

func (s QueueSet) classCommand(h *Class) string {
	pref, match := Handle, "ether dst "+h.MAC.String()
	if s.Queue.Egress() {
		match = "ether src " + h.MAC.String()
	}
	if h.MAC.IsZero() {
		pref, match = DefaultPref, "u32 0 0"
	}
	return fmt.Sprintf("tc class replace dev %s parent %x:1 %s && tc filter replace dev %s parent %x: pref %d u32 match %s classid %x:%x",
		s.Queue.Link, Handle, h, s.Queue.Link, Handle, pref, match, Handle, h.Minor)
}

func (s QueueDel) String() string { return "tc qdisc del dev " + s.Link + " root" }

func (s RedirectAdd) String() string {
	r := s.Redirect
	out := []string{"tc qdisc add dev " + r.Link + " ingress"}
	add := func(match, to string) {
		out = append(out, fmt.Sprintf("tc filter add dev %s ingress pref %d u32 match %s action mirred egress redirect dev %s", r.Link, Handle, match, to))
	}
	if r.Host.IsZero() {
		add("u32 0 0", r.To)
	} else {
		add("ether dst "+r.Host.String(), r.To)
		add("u8 1 1 at -14", r.To)
	}
	if r.Default != "" {
		add("u32 0 0", r.Default)
	}
	return strings.Join(out, " && ")
}

func (s RedirectDel) String() string {
	return fmt.Sprintf("tc filter del dev %s ingress pref %d", s.Link, Handle)
}

// dropTraffic ends what is not wanted any more, before the links go that it leads
// to; what is on a link that goes, goes with it.
func (d *differ) dropTraffic(want, have State) {
	queues, redirects := queuesOf(want), redirectsOf(want)
	owner := PortOwners(have)
	for _, r := range have.Redirects {
		if _, wanted := redirects[r.Link]; !wanted && !d.removes(r.Link) {
			d.add(owner[r.Link], RedirectDel{r.Link})
		}
	}
	for _, q := range have.Queues {
		if _, wanted := queues[q.Link]; !wanted && !d.removes(q.Link) {
			d.add(owner[q.Link], QueueDel{q.Link})
		}
	}
}

// traffic adds what is missing, once the links stand. A guest's link that is gone
// needs nothing.
func (d *differ) traffic(want, have State) {
	queues, redirects := queuesOf(have), redirectsOf(have)
	exists := map[string]bool{}
	for _, m := range have.Members {
		exists[m.Link] = true
	}
	for _, l := range want.Links {
		exists[l.Name] = true
	}
	for _, q := range want.Queues {
		h := queues[q.Link]
		if d.creates(q.Link) {
			h = Queue{}
		}
		if exists[q.Link] && !q.like(h) {
			d.add(q.Network, QueueSet{q, h})
		}
	}
	for _, r := range want.Redirects {
		if exists[r.Link] && (!r.like(redirects[r.Link]) || d.creates(r.To) || d.creates(r.Default) || d.creates(r.Link)) {
			d.add(r.Network, RedirectAdd{r})
		}
	}
}

// made reports whether the plan makes a link, so that nothing is on it yet.
func (d *differ) creates(link string) bool {
	h, had := d.have.links[link]
	w, wanted := d.want.links[link]
	return wanted && (!had || mustRecreate(w, h))
}

func queuesOf(s State) map[string]Queue {
	out := map[string]Queue{}
	for _, q := range s.Queues {
		out[q.Link] = q
	}
	return out
}

func redirectsOf(s State) map[string]Redirect {
	out := map[string]Redirect{}
	for _, r := range s.Redirects {
		out[r.Link] = r
	}
	return out
}

func (r Redirect) like(o Redirect) bool {
	return r.To == o.To && r.Host == o.Host && r.Default == o.Default
}

// PortOwners are the networks of links, and of guests' links by their bridges.
func PortOwners(s State) map[string]string {
	out := map[string]string{}
	for _, l := range s.Links {
		out[l.Name] = l.Network
	}
	for _, m := range s.Members {
		if _, ours := out[m.Link]; !ours {
			out[m.Link] = out[m.Bridge]
		}
	}
	return out
}

func (s QueueSet) Cause() string {
	if s.Have.Link == "" {
		return "egress of " + s.Queue.Link + " was not limited"
	}
	return "the egress limit of " + s.Queue.Link + " was changed"
}
func (s QueueDel) Cause() string    { return "egress of " + s.Link + " was limited" }
func (s RedirectAdd) Cause() string { return "ingress of " + s.Redirect.Link + " was not limited" }
func (s RedirectDel) Cause() string { return "ingress of " + s.Link + " was limited" }

func (QueueSet) Removes() bool    { return false }
func (QueueDel) Removes() bool    { return true }
func (RedirectAdd) Removes() bool { return false }
func (RedirectDel) Removes() bool { return true }

func (s QueueSet) expected(added map[string]bool) bool    { return added[s.Queue.Link] }
func (QueueDel) expected(map[string]bool) bool            { return true }
func (s RedirectAdd) expected(added map[string]bool) bool { return added[s.Redirect.Link] }
func (RedirectDel) expected(map[string]bool) bool         { return true }

// NewPortLinks returns the links of ports that were not there before, and their ifbs.
func NewPortLinks(was, now []Member) map[string]bool {
	known, out := map[int]bool{}, map[string]bool{}
	for _, m := range was {
		known[m.Index] = true
	}
	for _, m := range now {
		if !known[m.Index] {
			out[m.Link], out[IfbName(m.Link)] = true, true
		}
	}
	return out
}
