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

// suspend reports whether a declared port is kept down and out of its bridge, because its link
// was changed through its descriptor again and again. Until each change is repaired, the link
// can have another guest's MAC, and that guest is cut off.
func (r *round) suspend(p *netdrv.Port, have netdrv.Link) bool {
	now := time.Now()
	t := r.tamperings[p.Link]
	if t != nil && now.Before(t.until) {
		return true
	}
	entry, _ := r.Store.Get(p.Network)
	want := netdrv.LinkOf(p, &entry.Network, entry.Live, r.Host())
	what := want.Tampered(have)
	if what == "" {
		return false
	}
	if t == nil {
		t = &tampering{}
		r.tamperings[p.Link] = t
	}
	t.changes = append(slices.DeleteFunc(t.changes, func(c time.Time) bool { return now.Sub(c) > tamperTime }), now)
	if len(t.changes) <= tamperLimit {
		return false
	}
	period := min(suspendTime<<min(t.suspensions, 16), maxSuspendTime)
	t.changes, t.until = nil, now.Add(period)
	t.suspensions++
	time.AfterFunc(period, func() { r.enqueue([]string{p.Network}, nil) })
	r.repaired(p.Network, fmt.Sprintf("port %s was changed through its descriptor %d times within %s (%s): it is suspended for %s",
		p.Link, tamperLimit+1, tamperTime, what, period), []string{netdrv.LinkDown{Name: p.Link}.String()})
	r.asked[p.Network] = true // it is told
	return true
}

// reportSuspended reports the ports that are suspended, and drops what is known of ports that
// are deleted or were left alone for long.
func (r *round) reportSuspended(ports []netdrv.Port) {
	now := time.Now()
	maps.DeleteFunc(r.tamperings, func(link string, t *tampering) bool {
		declared := slices.ContainsFunc(ports, func(p netdrv.Port) bool { return p.Link == link })
		last := t.until
		if n := len(t.changes); n > 0 {
			last = t.changes[n-1]
		}
		return !declared || now.Sub(last) > maxSuspendTime
	})
	var links []string
	for link, t := range r.tamperings {
		if now.Before(t.until) {
			links = append(links, link+" until "+t.until.UTC().Format(time.RFC3339))
		}
	}
	slices.Sort(links)
	var problem error
	if len(links) > 0 {
		problem = errors.New("changed through their descriptors again and again, and suspended: port " + strings.Join(links, ", "))
	}
	r.Report("ports", problem)
}
