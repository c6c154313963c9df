package service

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dnsd/zone"
	"github.com/vnetd/vnetd/netdrv"
)

// A Record is a DNS record that a network's server answers from local data.
type Record struct {
	Network string
	zone.Listed
}

// Records returns the local records of a network, or of all for "".
func (s *Service) Records(network string) ([]Record, error) {
	entries, err := s.entries(network)
	if err != nil {
		return nil, err
	}
	var out []Record
	now := time.Now()
	for i := range entries {
		n := &entries[i].Network
		names := map[string]bool{}
		s.Leases.Network(n.Name).Each(func(l *lease.Lease) bool {
			if l.Live(now) && l.Hostname != "" {
				names[l.Hostname] = true
			}
			return true
		})
		list, err := s.Engine.Names(n, maps.Keys(names))
		if err != nil {
			return nil, failed("list records of network "+n.Name, err)
		}
		for _, r := range list {
			out = append(out, Record{n.Name, r})
		}
	}
	return out, nil
}

// AddRecord adds a record to the definition of a network. unread is what the protocol could
// not translate, by the record's fields.
func (s *Service) AddRecord(ctx context.Context, network string, r netdrv.Record, unread netdrv.Findings) (Network, error) {
	return s.edit(ctx, network, func(n *netdrv.Network) (netdrv.Findings, error) {
		n.DNS.Records = append(slices.Clip(n.DNS.Records), r)
		return unread.Below(fmt.Sprintf("dns.records[%d]", len(n.DNS.Records)-1)), nil
	})
}

// DeleteRecords deletes the records of a definition that fit, and returns them. Empty fields
// of like fit all.
func (s *Service) DeleteRecords(ctx context.Context, network string, like zone.Record) (_ Network, deleted []netdrv.Record, err error) {
	n, err := s.edit(ctx, network, func(n *netdrv.Network) (netdrv.Findings, error) {
		var kept []netdrv.Record
		for _, r := range n.DNS.Records {
			if zone.Fits(n.DNS.Domain, zone.Record{Name: r.Name, Type: r.Type, Value: r.Value}, like) {
				deleted = append(deleted, r)
			} else {
				kept = append(kept, r)
			}
		}
		if n.DNS.Records = kept; deleted == nil {
			what := strings.Join(strings.Fields(like.Name+" "+like.Type+" "+like.Value), " ")
			return nil, refuse(NotFound, "network %s has no record %s of its own; `vnetctl record list %s` has them", n.Name, what, n.Name)
		}
		return nil, nil
	})
	return n, deleted, err
}

// A Forward is a published port with its state.
type Forward struct {
	Network string
	netdrv.Forward
	Active  bool
	Targets []Target
	// Waiting is why an active network's forward has no target.
	Waiting string
}

// A Target is a guest that a published port forwards to.
type Target struct {
	Address netip.Addr
	MAC     netdrv.MAC // zero if it is not known
}

// Forwards returns the published ports of a network, or of all for "".
func (s *Service) Forwards(network string) ([]Forward, error) {
	entries, err := s.entries(network)
	if err != nil {
		return nil, err
	}
	var out []Forward
	for i := range entries {
		e := &entries[i]
		for j := range e.Network.Forwards {
			f, _ := s.forward(e, &e.Network.Forwards[j])
			out = append(out, f)
		}
	}
	return out, nil
}

// forward returns a forward with its state; byGuest reports whether it waits because of a
// name that a guest chose itself.
func (s *Service) forward(e *store.Entry, f *netdrv.Forward) (out Forward, byGuest bool) {
	out = Forward{Network: e.Network.Name, Forward: *f, Active: e.Live}
	targets, chosen := s.Engine.Targets(&e.Network, f)
	for _, a := range targets {
		t := Target{Address: a}
		if l, ok := s.Leases.Network(e.Network.Name).ByAddr(a); ok && l.Live(time.Now()) {
			t.MAC = netdrv.MAC(l.MAC)
		} else {
			t.MAC = s.Engine.ReservedMAC(&e.Network, f, a)
		}
		out.Targets = append(out.Targets, t)
	}
	switch {
	case !e.Live || len(targets) > 0:
	case chosen != "":
		out.Waiting = fmt.Sprintf("%s is a name chosen by a guest; to publish to it, declare the guest (port, reservation or record) or set allowDhcpName on the forward", chosen)
	default:
		out.Waiting = fmt.Sprintf("%s has no address on the network", f.Guest)
	}
	return out, out.Waiting != "" && chosen != ""
}

// AddForward adds a published port to the definition of a network. unread is what the
// protocol could not translate, by the forward's fields.
func (s *Service) AddForward(ctx context.Context, network string, f netdrv.Forward, unread netdrv.Findings) (Network, error) {
	return s.edit(ctx, network, func(n *netdrv.Network) (netdrv.Findings, error) {
		n.Forwards = append(slices.Clip(n.Forwards), f)
		return unread.Below(fmt.Sprintf("forwards[%d]", len(n.Forwards)-1)), nil
	})
}

// DeleteForwards deletes the published ports of a definition that fit, and returns them.
// what names them in the error if there are none.
func (s *Service) DeleteForwards(ctx context.Context, network, what string, fits func(*netdrv.Forward) bool) (_ Network, deleted []netdrv.Forward, err error) {
	n, err := s.edit(ctx, network, func(n *netdrv.Network) (netdrv.Findings, error) {
		var kept []netdrv.Forward
		for _, f := range n.Forwards {
			if fits(&f) {
				deleted = append(deleted, f)
			} else {
				kept = append(kept, f)
			}
		}
		if n.Forwards = kept; deleted == nil {
			return nil, refuse(NotFound, "network %s has no forward %s; `vnetctl forward list %s` has them", n.Name, what, n.Name)
		}
		return nil, nil
	})
	return n, deleted, err
}

// AllLeases returns the leases of a network, or of all for "".
func (s *Service) AllLeases(network string) ([]lease.Lease, error) {
	if network == "" {
		return s.Leases.All(), nil
	}
	if _, err := s.entries(network); err != nil {
		return nil, err
	}
	return s.Leases.Leases(network), nil
}

// ReleaseLease ends the lease of an address.
func (s *Service) ReleaseLease(network string, a netip.Addr) error {
	if _, err := s.entries(network); err != nil || network == "" {
		return s.missing(network)
	}
	if !slices.ContainsFunc(s.Leases.Leases(network), func(l lease.Lease) bool { return l.Address == a }) {
		return refuse(NotFound, "network %s has no lease of %s", network, a)
	}
	return failed("release "+a.String(), s.Leases.Release(network, a))
}
