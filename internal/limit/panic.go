package limit

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// A Component is a part of the daemon that handles what guests, upstream servers or
// local users send.
type Component string

// The components in which panics are recovered.
const (
	DHCP4    Component = "dhcpv4"
	DHCP6    Component = "dhcpv6"
	DNS      Component = "dns"
	Forward  Component = "dns-forward" // replies of upstream servers
	TFTP     Component = "tftp"
	BootHTTP Component = "boot-http"
	Proxy    Component = "proxy"
	Tap      Component = "tap"
	RPC      Component = "rpc"
	Guests   Component = "guests" // what leases and links of guests lead to
)

// stackEvery is how often the stack and the whole packet of a component's panic are
// logged.
const stackEvery = time.Minute

const (
	maxStack = 4 << 10 // octets
	maxPanic = 256
	maxData  = 128 // octets of the other packets
)

// A stack is logged whole.
type stack string

var panics = struct {
	sync.Mutex
	times map[Component]uint64
	told  map[Component]time.Time
}{
	times: map[Component]uint64{DHCP4: 0, DHCP6: 0, DNS: 0, Forward: 0, TFTP: 0, BootHTTP: 0, Proxy: 0, Tap: 0, RPC: 0, Guests: 0},
	told:  map[Component]time.Time{},
}

// Panics returns how many panics were recovered in each component.
func Panics() map[Component]uint64 {
	panics.Lock()
	defer panics.Unlock()
	out := make(map[Component]uint64, len(panics.times))
	for c, n := range panics.times {
		out[c] = n
	}
	return out
}

// Recover recovers a panic of the function that defers it, and reports it: a packet
// that meets a bug costs that packet only. data is the packet, or nil. The function
// must hold no lock that a deferred call does not release.
func Recover(log *slog.Logger, c Component, data []byte) {
	if v := recover(); v != nil {
		Report(log, c, v, data)
	}
}

// RecoverAs is Recover for a function that returns an error: err becomes one.
func RecoverAs(log *slog.Logger, c Component, err *error) {
	if v := recover(); v != nil {
		Report(log, c, v, nil)
		*err = errPanic
	}
}

var errPanic = errors.New("internal error (a panic; the daemon's log has it, please report it)")

// Report counts and logs a panic that was recovered, with its stack and all of data once a
// minute.
func Report(log *slog.Logger, c Component, v any, data []byte) {
	now := time.Now()
	panics.Lock()
	panics.times[c]++
	whole := now.Sub(panics.told[c]) >= stackEvery
	if whole {
		panics.told[c] = now
	}
	panics.Unlock()
	attrs := []any{componentKey, string(c), "panic", replace(cut(fmt.Sprint(v), maxPanic), "")}
	if len(data) > 0 {
		shown := data
		if !whole {
			shown = data[:min(len(data), maxData)]
		}
		attrs = append(attrs, "octets", len(data), "data", shown)
	}
	if whole {
		s := debug.Stack()
		attrs = append(attrs, "stack", stack(s[:min(len(s), maxStack)]))
	}
	log.Error("panic in "+string(c)+": the packet is dropped", attrs...)
}
