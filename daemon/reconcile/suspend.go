package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

const (
	// tamperLimit is how often the link of a declared port is repaired within tamperTime after
	// it was changed through its descriptor. Once more, and the port is suspended.
	tamperLimit = 2
	tamperTime  = time.Minute
	// suspendTime is how long a port is suspended for the first time. It doubles with each
	// suspension, up to maxSuspendTime. After as long without a change the port starts over.
	suspendTime    = time.Minute
	maxSuspendTime = time.Hour
)

// tampering is what a declared port's link went through of late.
type tampering struct {
	changes     []time.Time // within tamperTime
	suspensions int
	until       time.Time // the end of the last suspension
}

// A suspension is a port that a plan suspends.
type suspension struct {
	netdrv.Port
	what   string // was changed
	period time.Duration
}

// suspensions returns the links of declared ports that are kept down and out of their bridges,
// because they were changed through their descriptors again and again: until each change is
// repaired, the link can have another guest's MAC, and that guest is cut off. It adds to the
// plan what is new.
func (r *round) suspensions(p *plan, ports []netdrv.Port) map[string]bool {
	now := time.Now()
	r.ports.mu.Lock()
	p.tamperings = maps.Clone(r.ports.tamperings)
	r.ports.mu.Unlock()
	declared := map[string]bool{}
	for _, p := range r.Store.Ports() {
		declared[p.Link] = true
	}
	maps.DeleteFunc(p.tamperings, func(link string, t tampering) bool {
		last := t.until
		if n := len(t.changes); n > 0 {
			last = t.changes[n-1]
		}
		return !declared[link] || now.Sub(last) > maxSuspendTime
	})
	links := map[string]netdrv.Link{}
	for _, l := range p.have.Links {
		links[l.Name] = l
	}
	for i := range ports {
		port := &ports[i]
		link, exists := links[port.Link]
		t := p.tamperings[port.Link]
		if port.Transient || !exists || now.Before(t.until) {
			continue
		}
		entry := r.scoped[port.Network]
		want := netdrv.LinkOf(port, &entry.Network, entry.Live, p.host)
		what := want.Tampered(link)
		if what == "" {
			continue
		}
		t.changes = append(slices.DeleteFunc(slices.Clone(t.changes), func(c time.Time) bool { return now.Sub(c) > tamperTime }), now)
		if len(t.changes) > tamperLimit {
			period := min(suspendTime<<min(t.suspensions, 16), maxSuspendTime)
			t = tampering{suspensions: t.suspensions + 1, until: now.Add(period)}
			p.suspended = append(p.suspended, suspension{*port, what, period})
		}
		p.tamperings[port.Link] = t
	}
	out := map[string]bool{}
	for link, t := range p.tamperings {
		out[link] = now.Before(t.until)
	}
	return out
}

// setSuspended records the suspensions of a plan, and reports them.
func (r *round) setSuspended(p *plan) {
	r.ports.mu.Lock()
	r.ports.tamperings = p.tamperings
	r.ports.mu.Unlock()
	for _, s := range p.suspended {
		time.AfterFunc(s.period, func() { r.queue.add([]string{s.Network}, nil) })
		r.repaired(s.Network, fmt.Sprintf("port %s was changed through its descriptor %d times within %s (%s): it is suspended for %s",
			s.Link, tamperLimit+1, tamperTime, s.what, s.period), []string{netdrv.LinkDown{Name: s.Link}.String()})
		r.asked[s.Network] = true // the repair is reported
	}
	var links []string
	for link, t := range p.tamperings {
		if time.Now().Before(t.until) {
			links = append(links, link+" until "+t.until.UTC().Format(time.RFC3339))
		}
	}
	slices.Sort(links)
	var problem error
	if len(links) > 0 {
		problem = errors.New("changed through their descriptors repeatedly, and suspended: port " + strings.Join(links, ", "))
	}
	r.Report("ports", problem)
}
