package dnsd

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// An upstream is a name server of the test's own. It counts what it is asked.
type upstream struct {
	addr string
	ttl  atomic.Uint32

	mu      sync.Mutex
	asked   []string // "name type network"
	answers func(m, reply *dns.Msg, network string)
	silent  chan struct{} // while it blocks, no answers go out
}

// newUpstream answers A queries with 192.0.2.1 and all else with NODATA.
func newUpstream(t testing.TB, addr string) *upstream {
	t.Helper()
	u := &upstream{addr: addr}
	u.ttl.Store(300)
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	u.addr = pc.LocalAddr().String()
	l, err := net.Listen("tcp", u.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: u, UDPSize: 4096}, {Listener: l, Handler: u}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe() //nolint:errcheck // ends with Shutdown
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	t.Cleanup(func() { _, _ = pc.Close(), l.Close() }) // Shutdown alone leaves the port taken for a while
	return u
}

func (u *upstream) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	network := w.LocalAddr().Network()
	reply := new(dns.Msg).SetReply(m)
	reply.RecursionAvailable = true
	u.mu.Lock()
	u.asked = append(u.asked, fmt.Sprint(strings.ToLower(m.Question[0].Name), " ", dns.TypeToString[m.Question[0].Qtype], " ", network))
	answers, silent := u.answers, u.silent
	u.mu.Unlock()
	if answers == nil {
		answers = u.plain
	}
	answers(m, reply, network)
	if silent != nil {
		<-silent
	}
	_ = w.WriteMsg(reply)
}

func (u *upstream) plain(m, reply *dns.Msg, _ string) {
	q := m.Question[0]
	if q.Qtype == dns.TypeA {
		rr, _ := dns.NewRR(fmt.Sprintf("%s %d IN A 192.0.2.1", q.Name, u.ttl.Load()))
		reply.Answer = append(reply.Answer, rr)
		return
	}
	rr, _ := dns.NewRR(". 900 IN SOA ns.test. h.test. 1 2 3 4 300")
	reply.Ns = append(reply.Ns, rr)
}

// answer changes how it answers.
func (u *upstream) answer(f func(m, reply *dns.Msg, network string)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answers = f
}

// hold keeps answers back until the returned function is called.
func (u *upstream) hold() (release func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	silent := make(chan struct{})
	u.silent = silent
	return sync.OnceFunc(func() { close(silent) })
}

// queries returns what was asked so far.
func (u *upstream) queries() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.asked...)
}
