package proxy

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/vnetd/vnetd/internal/limit"
)

// A caller that breaks the proxy costs its connection: no lock stays held.
func TestPanicCostsOneCall(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	at := netip.MustParseAddrPort("127.0.0.1:9")
	e := Endpoint{Protocol: UDP, Listen: at, Targets: []netip.AddrPort{at}}
	before := limit.Panics()[limit.Proxy]
	u := &udpSocket{sessions: newSessions(e, make(chan struct{}, 1), log)} // without the map of its clients
	u.open = nil
	u.forward(netip.MustParseAddrPort("127.0.0.1:99"), nil)
	(&tcpSocket{sessions: newSessions(e, make(chan struct{}, 1), log)}).forward(nil)
	if n := limit.Panics()[limit.Proxy] - before; n != 2 {
		t.Errorf("%d panics were counted", n)
	}
	if !u.clientsMu.TryLock() || !u.mu.TryLock() {
		t.Error("a lock stays held")
	}
}
