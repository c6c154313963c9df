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
			cache.Put(q.Key(), message(t, q, c.record), start)
			for _, after := range []time.Duration{0, time.Second - 1, time.Second, c.life / 2, max(c.life-1, 0), c.life, c.life + time.Hour} {
				m, age := cache.Get(q.Key(), start.Add(after))
				if (m != nil) != (after < c.life) {
					t.Errorf("after %v of %v: %v", after, c.life, m)
				}
				if m != nil && age != uint32(after/time.Second) {
					t.Errorf("age %d after %v", age, after)
				}
			}
			if cache.Len() != 0 {
				t.Error("what was met stale is still there")
			}
		})
	}
}

func TestClockThatGoesBackMakesNothingOlder(t *testing.T) {
	cache, q := New(100, 1<<20), parse(t, question("a."))
	cache.Put(q.Key(), message(t, q, "a. 60 IN A 192.0.2.1"), start)
	if m, age := cache.Get(q.Key(), start.Add(-time.Hour)); m == nil || age != 0 {
		t.Errorf("%v, age %d", m, age)
	}
}

func TestKeysDoNotMix(t *testing.T) {
	cache := New(100, 1<<20)
	base := parse(t, question("www.example.org."))
	cache.Put(base.Key(), message(t, base, "www.example.org. 60 IN A 192.0.2.1"), start)
	do := question("www.example.org.")
	do.SetEdns0(1232, true)
	cd := question("www.example.org.")
	cd.CheckingDisabled = true
	for name, m := range map[string]*dns.Msg{
		"name": question("example.org."), "type": new(dns.Msg).SetQuestion("www.example.org.", dns.TypeAAAA), "DO": do, "CD": cd,
	} {
		if m, _ := cache.Get(parse(t, m).Key(), start); m != nil {
			t.Errorf("another %s finds it", name)
		}
	}
	for _, m := range []*dns.Msg{question("WWW.Example.ORG."), question("www.example.org.").SetEdns0(4096, false)} {
		if got, _ := cache.Get(parse(t, m).Key(), start); got == nil {
			t.Errorf("%v does not find it", m.Question)
		}
	}
}

func TestBoundsHold(t *testing.T) {
	put := func(c *Cache, n int) {
		for i := range n {
			name := fmt.Sprintf("n%d.example.org.", i)
			q := parse(t, question(name))
			c.Put(q.Key(), message(t, q, name+" 60 IN A 192.0.2.1"), start)
		}
	}
	byNumber := New(160, 1<<30)
	put(byNumber, 5000)
	if n := byNumber.Len(); n > 160 || n < 100 {
		t.Errorf("%d entries of 160", n)
	}
	byMemory := New(1<<20, 64<<10)
	put(byMemory, 5000)
	for i := range byMemory.shards {
		if s := &byMemory.shards[i]; s.bytes > s.maxBytes || s.bytes < s.maxBytes/2 {
			t.Errorf("shard %d holds %d bytes of %d", i, s.bytes, s.maxBytes)
		}
	}
	byMemory.Clear()
	if byMemory.Len() != 0 {
		t.Error("not clear")
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
	cache.Put(keys[0], m, start)
	cache.Put(keys[1], m, start)
	cache.Get(keys[0], start)
	cache.Put(keys[2], m, start)
	for i, want := range []bool{true, false, true} {
		if m, _ := cache.Get(keys[i], start); (m != nil) != want {
			t.Errorf("key %d: %v, want %v", i, m != nil, want)
		}
	}
}

func TestPutReplaces(t *testing.T) {
	cache, q := New(100, 1<<20), parse(t, question("a."))
	cache.Put(q.Key(), message(t, q, "a. 60 IN A 192.0.2.1"), start)
	cache.Put(q.Key(), message(t, q, "a. 90 IN A 192.0.2.2"), start.Add(50*time.Second))
	if m, age := cache.Get(q.Key(), start.Add(100*time.Second)); m == nil || age != 50 || cache.Len() != 1 {
		t.Errorf("%v, age %d, %d entries", m, age, cache.Len())
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
				if m, _ := cache.Get(q.Key(), start); m == nil {
					cache.Put(q.Key(), message(t, q, name+" 60 IN A 192.0.2.1"), start)
				}
			}
		})
	}
	all.Wait()
	if cache.Len() > 200+shards {
		t.Error(cache.Len())
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	cache, q, buf := New(100, 1<<20), parse(t, question("www.example.org.")), make([]byte, 0, 512)
	cache.Put(q.Key(), message(t, q, "www.example.org. 60 IN A 192.0.2.1"), start)
	got := testing.AllocsPerRun(100, func() {
		m, age := cache.Get(q.Key(), start.Add(time.Second))
		m.AppendReply(buf, q, age)
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}
