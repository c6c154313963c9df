package cache

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/vnetd/vnetd/dnsd/wire"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func parse(t testing.TB, m *dns.Msg) *wire.Query {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	q := new(wire.Query)
	if wire.Parse(b, q) != wire.OK {
		t.Fatal(m)
	}
	return q
}

// message is upstream's reply to q: one record, or NXDOMAIN with SOA.
func message(t testing.TB, q *wire.Query, record string) *wire.Message {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(wire.AppendQuery(nil, 1, q.Key(), false)); err != nil {
		t.Fatal(err)
	}
	m.SetReply(m)
	rr, err := dns.NewRR(record)
	if err != nil {
		t.Fatal(err)
	}
	if rr.Header().Rrtype == dns.TypeSOA {
		m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{rr}
	} else {
		m.Answer = []dns.RR{rr}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	msg, err := wire.ParseMessage(b, 1, q.Key())
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func question(name string) *dns.Msg { return new(dns.Msg).SetQuestion(name, dns.TypeA) }

func TestRepliesLiveAsLongAsTheyMay(t *testing.T) {
	for name, c := range map[string]struct {
		record string
		life   time.Duration
	}{
		"positive": {"www.example.org. 60 IN A 192.0.2.1", time.Minute},
		"negative": {"example.org. 900 IN SOA a. b. 1 2 3 4 30", 30 * time.Second},
		"TTL 0":    {"www.example.org. 0 IN A 192.0.2.1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			cache, q := New(100, 1<<20), parse(t, question("www.example.org."))
			cache.Put(1, q.Key(), message(t, q, c.record), start)
			for _, after := range []time.Duration{0, time.Second - 1, time.Second, c.life / 2, max(c.life-1, 0), c.life, c.life + time.Hour} {
				hit := cache.Get(1, q.Key(), start.Add(after))
				if (hit.Message != nil) != (after < c.life) {
					t.Errorf("after %v of %v: %v", after, c.life, hit)
				}
				if hit.Message != nil && hit.Age != uint32(after/time.Second) {
					t.Errorf("age %d after %v", hit.Age, after)
				}
			}
			cache.Get(1, q.Key(), start.Add(c.life+StaleLife))
			if cache.Size().Entries != 0 {
				t.Error("what was met past all use is still there")
			}
		})
	}
}

func TestClockThatGoesBackMakesNothingOlder(t *testing.T) {
	cache, q := New(100, 1<<20), parse(t, question("a."))
	cache.Put(1, q.Key(), message(t, q, "a. 60 IN A 192.0.2.1"), start)
	if hit := cache.Get(1, q.Key(), start.Add(-time.Hour)); hit.Message == nil || hit.Age != 0 {
		t.Errorf("%+v", hit)
	}
}

func TestKeysDoNotMix(t *testing.T) {
	cache := New(100, 1<<20)
	base := parse(t, question("www.example.org."))
	cache.Put(1, base.Key(), message(t, base, "www.example.org. 60 IN A 192.0.2.1"), start)
	do := question("www.example.org.")
	do.SetEdns0(1232, true)
	cd := question("www.example.org.")
	cd.CheckingDisabled = true
	for name, m := range map[string]*dns.Msg{
		"name": question("example.org."), "type": new(dns.Msg).SetQuestion("www.example.org.", dns.TypeAAAA), "DO": do, "CD": cd,
	} {
		if cache.Get(1, parse(t, m).Key(), start).Message != nil {
			t.Errorf("another %s finds it", name)
		}
	}
	for _, m := range []*dns.Msg{question("WWW.Example.ORG."), question("www.example.org.").SetEdns0(4096, false)} {
		if cache.Get(1, parse(t, m).Key(), start).Message == nil {
			t.Errorf("%v does not find it", m.Question)
		}
	}
	if cache.Get(2, base.Key(), start).Message != nil {
		t.Error("another owner finds it")
	}
}

func TestBoundsHold(t *testing.T) {
	put := func(c *Cache, n int) {
		for i := range n {
			name := fmt.Sprintf("n%d.example.org.", i)
			q := parse(t, question(name))
			c.Put(1, q.Key(), message(t, q, name+" 60 IN A 192.0.2.1"), start)
		}
	}
	byNumber := New(160, 1<<30)
	put(byNumber, 5000)
	if n := byNumber.Size().Entries; n > 160 || n < 100 {
		t.Errorf("%d entries of 160", n)
	}
	byMemory := New(1<<20, 64<<10)
	put(byMemory, 5000)
	for i := range byMemory.shards {
		s := &byMemory.shards[i]
		if n := s.probation.bytes + s.protected.bytes; n > s.maxBytes || n < s.maxBytes/2 {
			t.Errorf("shard %d holds %d bytes of %d", i, n, s.maxBytes)
		}
	}
}

// Breaks when Get does not count as use.
func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	cache := New(shards*2, 1<<30)
	s := &cache.shards[0]
	var keys [][]byte
	for i := 0; len(keys) < 3; i++ {
		q := parse(t, question(fmt.Sprintf("n%d.", i)))
		if cache.shard(q.Key()) == s {
			keys = append(keys, append([]byte(nil), q.Key()...))
		}
	}
	q := parse(t, question("x."))
	m := message(t, q, "x. 60 IN A 192.0.2.1")
	cache.Put(1, keys[0], m, start)
	cache.Put(1, keys[1], m, start)
	cache.Get(1, keys[0], start)
	cache.Put(1, keys[2], m, start)
	for i, want := range []bool{true, false, true} {
		if got := cache.Get(1, keys[i], start).Message != nil; got != want {
			t.Errorf("key %d: %v, want %v", i, got, want)
		}
	}
}

func TestPutReplaces(t *testing.T) {
	cache, q := New(100, 1<<20), parse(t, question("a."))
	cache.Put(1, q.Key(), message(t, q, "a. 60 IN A 192.0.2.1"), start)
	cache.Put(1, q.Key(), message(t, q, "a. 90 IN A 192.0.2.2"), start.Add(50*time.Second))
	if hit := cache.Get(1, q.Key(), start.Add(100*time.Second)); hit.Message == nil || hit.Age != 50 || cache.Size().Entries != 1 {
		t.Errorf("%+v, %d entries", hit, cache.Size().Entries)
	}
}

func TestManyAtOnce(t *testing.T) {
	cache := New(200, 1<<20)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 2000 {
				name := fmt.Sprintf("n%d.", (i*7+g)%400)
				q := parse(t, question(name))
				if cache.Get(1, q.Key(), start).Message == nil {
					cache.Put(1, q.Key(), message(t, q, name+" 60 IN A 192.0.2.1"), start)
				}
			}
		})
	}
	all.Wait()
	if cache.Size().Entries > 200+shards {
		t.Error(cache.Size().Entries)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	cache, q, buf := New(100, 1<<20), parse(t, question("www.example.org.")), make([]byte, 0, 512)
	cache.Put(1, q.Key(), message(t, q, "www.example.org. 60 IN A 192.0.2.1"), start)
	got := testing.AllocsPerRun(100, func() {
		hit := cache.Get(1, q.Key(), start.Add(time.Second))
		hit.Message.AppendReply(buf, q, hit.Age)
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// Breaks when new entries push out what is asked for again and again.
func TestManyNewNamesPushOutNobodys(t *testing.T) {
	cache := New(1<<20, 256<<10)
	hot := parse(t, question("hot.example.org."))
	cache.Put(1, hot.Key(), message(t, hot, "hot.example.org. 60 IN A 192.0.2.1"), start)
	cache.Get(1, hot.Key(), start)
	for i := range 20_000 {
		name := fmt.Sprintf("n%d.example.org.", i)
		q := parse(t, question(name))
		cache.Put(1, q.Key(), message(t, q, name+" 60 IN A 192.0.2.1"), start)
	}
	if cache.Get(1, hot.Key(), start).Message == nil {
		t.Error("pushed out")
	}
}

// What is kept has bounds, too: of names that are all asked for twice, the
// oldest go.
func TestKeptNamesAreBounded(t *testing.T) {
	cache := New(1<<20, 256<<10)
	for i := range 20_000 {
		name := fmt.Sprintf("n%d.example.org.", i)
		q := parse(t, question(name))
		cache.Put(1, q.Key(), message(t, q, name+" 60 IN A 192.0.2.1"), start)
		cache.Get(1, q.Key(), start)
	}
	for i := range cache.shards {
		if s := &cache.shards[i]; s.probation.bytes+s.protected.bytes > s.maxBytes {
			t.Errorf("shard %d holds %d bytes of %d", i, s.probation.bytes+s.protected.bytes, s.maxBytes)
		}
	}
}

func TestHotNamesAreRefreshedOnce(t *testing.T) {
	cache, q := New(100, 1<<20), parse(t, question("a."))
	put := func(at time.Duration) {
		cache.Put(1, q.Key(), message(t, q, "a. 100 IN A 192.0.2.1"), start.Add(at))
	}
	refresh := func(at time.Duration) bool { return cache.Get(1, q.Key(), start.Add(at)).Refresh }
	put(0)
	if refresh(95 * time.Second) {
		t.Error("refreshed though asked for the first time")
	}
	if !refresh(96*time.Second) || refresh(97*time.Second) {
		t.Error("not refreshed, or twice")
	}
	put(98 * time.Second)
	if refresh(180*time.Second) || !refresh(190*time.Second) {
		t.Error("the new one is not refreshed at its time")
	}
}

func TestStaleRepliesStandIn(t *testing.T) {
	cache, q := New(100, 1<<20), parse(t, question("a."))
	cache.Put(1, q.Key(), message(t, q, "a. 60 IN A 192.0.2.1"), start)
	late := start.Add(time.Hour)
	if cache.Get(1, q.Key(), late).Message != nil {
		t.Error("stale, and given out though nobody failed")
	}
	if cache.Stale(1, q.Key(), late) == nil || cache.Stale(2, q.Key(), late) != nil {
		t.Error("not there, or another owner's")
	}
	cache.Keep(1, q.Key(), late)
	if hit := cache.Get(1, q.Key(), late.Add(RetryTime-1)); hit.Message == nil || !hit.Stale {
		t.Errorf("after a failure: %+v", hit)
	}
	if cache.Get(1, q.Key(), late.Add(RetryTime)).Message != nil {
		t.Error("never asked again")
	}
	if cache.Stale(1, q.Key(), start.Add(time.Minute+StaleLife)) != nil {
		t.Error("stale for ever")
	}
	failed := wire.Failure(q.Key())
	cache.Put(2, q.Key(), failed, start)
	if cache.Stale(2, q.Key(), start.Add(2*time.Second)) != nil {
		t.Error("a failure stands in")
	}
}
