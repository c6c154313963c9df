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

	// Unicast answers. Many guests that boot at once are served at once; one
	// that asks without end gets what it costs nothing to give, and when that
	// is used up, what all get.
	maxAnswers  = 512
	answersEach = 5 * time.Millisecond
)

// An Advertiser knows what is advertised on a link and when next. It has no
// lock: one goroutine at a time.
type Advertiser struct {
	cfg  Config
	gone []gone

	initial int       // advertisements of the initial burst that are left
	next    time.Time // of the next to all
	last    time.Time // when the last to all was sent
	answers answers
}

// New returns an advertiser whose first advertisement is due at once. The error
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

// Set changes what is advertised. A configuration that says the same is none;
// another one is advertised three times, the first as soon as RFC 4861 allows,
// with what is gone. After an error the old one stays.
func (a *Advertiser) Set(cfg Config, now time.Time) error {
	cfg = cfg.withDefaults()
	if reflect.DeepEqual(a.cfg, cfg) {
		return nil
	}
	if err := check(&cfg); err != nil {
		return err
	}
	a.gone = append(a.gone, missing(&a.cfg, &cfg, now)...)
	a.gone = slices.DeleteFunc(a.gone, func(g gone) bool { return g.back(&cfg) })
	a.gone = a.gone[max(0, len(a.gone)-maxGone):]
	a.cfg = cfg
	a.Restart()
	return nil
}

// Restart has the configuration advertised as if it were new: the link is.
func (a *Advertiser) Restart() {
	a.initial = burst
	a.next = a.earliest()
}

// earliest is when RFC 4861 §6.2.6 allows another advertisement to all.
func (a *Advertiser) earliest() time.Time {
	if a.last.IsZero() {
		return time.Time{}
	}
	return a.last.Add(minDelay)
}

// Next returns when Due should be asked again; in the past is at once.
func (a *Advertiser) Next() time.Time { return a.next }

// Due says whether an advertisement to all nodes is due at now, and if so takes
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

// Solicited takes a valid solicitation, and says whether to answer it to the
// guest alone, at once. Otherwise the answer is an advertisement to all:
// Next says when.
//
// Deviation: RFC 4861 §6.2.6 has a router wait up to half a second, so that
// several do not answer at the same moment. Here is only one.
func (a *Advertiser) Solicited(hasSource bool, now time.Time) (alone bool) {
	if hasSource && a.answers.take(now) {
		return true
	}
	if at := a.earliest(); at.Before(a.next) {
		a.next = at
	}
	return false
}

// Message returns the advertisement, an ICMPv6 message without its checksum.
func (a *Advertiser) Message(now time.Time) []byte {
	a.gone = slices.DeleteFunc(a.gone, func(g gone) bool { return !now.Before(g.until) })
	// What is gone yields to what is.
	for n := range len(a.gone) + 1 {
		if b, err := marshal(compose(&a.cfg, a.gone[n:], now)); err == nil {
			return b
		}
	}
	return nil // not with a configuration that was checked
}

// Final returns the last advertisement: no default router, no preferred
// prefix, no name server (RFC 4861 §6.2.5, RFC 8106 §6.1).
func (a *Advertiser) Final(now time.Time) []byte {
	last := Advertiser{cfg: a.cfg, gone: append(missing(&a.cfg, &Config{}, now), a.gone...)}
	c := &last.cfg
	c.Prefixes, c.Routes, c.DNS, c.Search = nil, nil, nil, nil
	c.Managed, c.Other, c.Lifetime = false, false, -1
	for len(last.gone) > 0 {
		if b, err := marshal(compose(c, last.gone, now)); err == nil {
			return b
		}
		last.gone = last.gone[:len(last.gone)-1]
	}
	return last.Message(now)
}

// answers bounds the unicast answers: a bucket that holds maxAnswers and gains
// one each answersEach.
type answers struct {
	used int
	at   time.Time
}

func (t *answers) take(now time.Time) bool {
	if gained := int(now.Sub(t.at) / answersEach); gained > 0 {
		t.used = max(0, t.used-gained)
		t.at = t.at.Add(time.Duration(gained) * answersEach)
	}
	if t.used >= maxAnswers {
		return false
	}
	t.used++
	return true
}
