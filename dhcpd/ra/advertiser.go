package ra

import (
	"reflect"
	"slices"
	"time"
)

// The constants of RFC 4861 §10, and ours.
const (
	minDelay  = 3 * time.Second // MIN_DELAY_BETWEEN_RAS
	burst     = 3               // MAX_INITIAL_RTR_ADVERTISEMENTS
	burstTime = 4 * time.Second // between those; at most 16 s by the RFC

	// Rate limit of unicast answers. Many guests that boot at once are served at once; for a
	// flood of solicitations the multicast advertisements remain.
	maxUnicast  = 512
	unicastEach = 5 * time.Millisecond
)

// An Advertiser schedules the advertisements of a link. It has no
// lock: one goroutine at a time.
type Advertiser struct {
	cfg       Config
	withdrawn []withdrawn

	initial int       // remaining advertisements of the initial burst
	next    time.Time // of the next multicast one
	last    time.Time // of the last multicast one
	unicast bucket    // of unicast answers
}

// New returns an advertiser with an advertisement that is due at once. The error
// has a line for each finding.
func New(cfg Config) (*Advertiser, error) {
	cfg = cfg.withDefaults()
	if err := check(&cfg); err != nil {
		return nil, err
	}
	return &Advertiser{cfg: cfg, initial: burst}, nil
}

func check(cfg *Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	_, err := marshal(compose(cfg, nil, time.Time{}))
	return err
}

// Set changes what is advertised. A different configuration is advertised three times, the
// first as soon as RFC 4861 allows, with what is withdrawn. After an error the old one stays.
func (a *Advertiser) Set(cfg Config, now time.Time) error {
	cfg = cfg.withDefaults()
	if reflect.DeepEqual(a.cfg, cfg) {
		return nil
	}
	if err := check(&cfg); err != nil {
		return err
	}
	a.withdrawn = append(a.withdrawn, removed(&a.cfg, &cfg, now)...)
	a.withdrawn = slices.DeleteFunc(a.withdrawn, func(w withdrawn) bool { return w.restored(&cfg) })
	a.withdrawn = a.withdrawn[max(0, len(a.withdrawn)-maxWithdrawn):]
	a.cfg = cfg
	a.Restart()
	return nil
}

// Restart advertises the configuration as a new one: the link is new.
func (a *Advertiser) Restart() {
	a.initial = burst
	a.next = a.earliest()
}

// earliest is when RFC 4861 §6.2.6 allows another multicast advertisement.
func (a *Advertiser) earliest() time.Time {
	if a.last.IsZero() {
		return time.Time{}
	}
	return a.last.Add(minDelay)
}

// Next returns when Due should be called again.
func (a *Advertiser) Next() time.Time { return a.next }

// Due reports whether a multicast advertisement is due at now, and then counts
// it as sent. rnd is a random number in [0, 1), for the next time (RFC 4861
// §6.2.4).
func (a *Advertiser) Due(now time.Time, rnd float64) bool {
	if now.Before(a.next) {
		return false
	}
	longest := a.cfg.Interval
	shortest := max(minDelay, longest/3)
	wait := shortest + time.Duration(rnd*float64(longest-shortest))
	if a.initial > 0 {
		a.initial--
	}
	if a.initial > 0 {
		wait = min(wait, minDelay+time.Duration(rnd*float64(burstTime-minDelay)))
	}
	a.last, a.next = now, now.Add(wait)
	return true
}

// Solicited takes a valid solicitation, and reports whether to answer it by unicast,
// at once. Otherwise the answer is the multicast advertisement at Next.
//
// Deviation: RFC 4861 §6.2.6 has a router wait up to half a second, so that
// several do not answer at the same moment. Here is only one router.
func (a *Advertiser) Solicited(hasSource bool, now time.Time) (unicast bool) {
	if hasSource && a.unicast.take(now) {
		return true
	}
	if at := a.earliest(); at.Before(a.next) {
		a.next = at
	}
	return false
}

// Message returns the advertisement, an ICMPv6 message without its checksum.
func (a *Advertiser) Message(now time.Time) []byte {
	a.withdrawn = slices.DeleteFunc(a.withdrawn, func(w withdrawn) bool { return !now.Before(w.until) })
	// If there is no room, withdrawn options are left out, the oldest first.
	for n := range len(a.withdrawn) + 1 {
		if b, err := marshal(compose(&a.cfg, a.withdrawn[n:], now)); err == nil {
			return b
		}
	}
	return nil // cannot happen with a configuration that was checked
}

// Final returns the last advertisement: no default router, no preferred
// prefix, no name server (RFC 4861 §6.2.5, RFC 8106 §6.1).
func (a *Advertiser) Final(now time.Time) []byte {
	last := Advertiser{cfg: a.cfg, withdrawn: append(removed(&a.cfg, &Config{}, now), a.withdrawn...)}
	c := &last.cfg
	c.Prefixes, c.Routes, c.DNS, c.Search = nil, nil, nil, nil
	c.Managed, c.Other, c.Lifetime = false, false, -1
	for len(last.withdrawn) > 0 {
		if b, err := marshal(compose(c, last.withdrawn, now)); err == nil {
			return b
		}
		last.withdrawn = last.withdrawn[:len(last.withdrawn)-1]
	}
	return last.Message(now)
}

// A bucket holds maxUnicast tokens and gains one each unicastEach.
type bucket struct {
	used int
	at   time.Time
}

func (b *bucket) take(now time.Time) bool {
	if gained := int(now.Sub(b.at) / unicastEach); gained > 0 {
		b.used = max(0, b.used-gained)
		b.at = b.at.Add(time.Duration(gained) * unicastEach)
	}
	if b.used >= maxUnicast {
		return false
	}
	b.used++
	return true
}
