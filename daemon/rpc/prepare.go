package rpc

import (
	"context"
	"crypto/rand"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	vnetv1 "github.com/vnetd/vnetd/api/vnet/v1"
	"github.com/vnetd/vnetd/daemon/wire"
	"github.com/vnetd/vnetd/netdrv"
)

// prepare reads, completes and checks a definition. old is the one it
// replaces, or nil.
func (s *Server) prepare(ctx context.Context, p *vnetv1.Network, old *netdrv.Network) (netdrv.Network, error) {
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return netdrv.Network{}, failed("check network "+p.GetName(), err)
	}
	return s.check(ctx, p, old, host)
}

// check is prepare with what the host has besides our own.
func (s *Server) check(ctx context.Context, p *vnetv1.Network, old *netdrv.Network, host netdrv.Host) (netdrv.Network, error) {
	n, findings := wire.FromNetwork(p)
	others := s.others(n.Name)
	bridges := bridgesOf(others)
	n, none := netdrv.Pick(n, old, s.Pools, netdrv.Taken(others, host), random[[5]byte]())
	findings = append(findings, none...)
	n = netdrv.Complete(n, old, func(link string) bool { return host.Taken(link) || bridges[link] }, random[[3]byte]())
	what := "network " + n.Name
	if fs := append(wire.Validate(&n, findings), s.Engine.CheckNames(&n)...); fs != nil {
		return n, findingsError(codes.InvalidArgument, what, fs)
	}
	fs := append(netdrv.Conflicts(&n, others), netdrv.HostConflicts(&n, released(host, old))...)
	fs = append(fs, netdrv.PortsAgainst(s.Store.PortsOf(n.Name), &n)...)
	fs = append(fs, netdrv.UnknownRemotes(&n.Filter, &n, append(others, n), s.Store.Ports())...)
	fs = append(fs, s.checkGround(ctx, &n)...)
	busy, err := s.Engine.CheckForwards(&n)
	if err != nil {
		return n, failed("check network "+n.Name, err)
	}
	if fs = append(fs, busy...); fs != nil {
		return n, findingsError(codes.FailedPrecondition, what, fs)
	}
	return n, nil
}

// largeDefinition is where collectLess begins to matter: some 10 000 reservations.
const largeDefinition = 1 << 20

// collectLess has the garbage collector run less often while a large definition is
// worked on, which leaves several times its size of garbage: at vnetd's usual setting
// the collector would take most of the time. The function that it returns ends that.
// Only one change is made at a time.
func collectLess(p *vnetv1.Network) func() {
	if proto.Size(p) < largeDefinition {
		return func() {}
	}
	usual := debug.SetGCPercent(100)
	return func() {
		debug.SetGCPercent(usual)
		go debug.FreeOSMemory()
	}
}

// others are the networks but for one; all, if it is "".
func (s *Server) others(name string) []netdrv.Network {
	entries := s.Store.List()
	out := make([]netdrv.Network, 0, len(entries))
	for i := range entries {
		if entries[i].Network.Name != name {
			out = append(out, entries[i].Network)
		}
	}
	return out
}

// random fills an array of octets; it never fails (crypto/rand).
func random[A [3]byte | [5]byte]() A {
	var b [5]byte
	_, _ = rand.Read(b[:])
	var a A
	for i := range len(a) {
		a[i] = b[i]
	}
	return a
}

// bridgesOf has the names of the networks' bridges.
func bridgesOf(networks []netdrv.Network) map[string]bool {
	out := make(map[string]bool, len(networks))
	for i := range networks {
		out[networks[i].Bridge.Name] = true
	}
	return out
}
