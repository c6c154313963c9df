package service

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/daemon/event"
	"github.com/vnetd/vnetd/daemon/store"
	"github.com/vnetd/vnetd/netdrv"
)

// orphan observes the host, and returns what it has of an orphaned network.
func (s *Service) orphan(ctx context.Context, name string) (*netdrv.Orphan, error) {
	if _, err := s.Engine.LookAtHost(ctx); err != nil {
		return nil, failed("look at the host", err)
	}
	var names []string
	for _, o := range s.Engine.Orphans() {
		if o.Network == name {
			return &o, nil
		}
		names = append(names, o.Network)
	}
	if _, declared := s.Store.Get(name); declared {
		return nil, refuse(Precondition, "network %s is declared, and the host has no orphaned links of it", name)
	}
	if len(names) == 0 {
		return nil, refuse(NotFound, "no orphaned network %s; this host has none", name)
	}
	return nil, refuse(NotFound, "no orphaned network %s; this host has %s", name, strings.Join(names, ", "))
}

// Adopt declares a network from its links on the host, with their ports, and returns the
// links of the ports. define completes the definition that the links show; its mode is zero
// if they do not show it.
func (s *Service) Adopt(ctx context.Context, name string, define func(shown netdrv.Network) (Definition, error), dryRun bool) (Network, []string, error) {
	ctx, end := s.begin(ctx)
	defer end()
	what := "adopt network " + name
	o, err := s.orphan(ctx, name)
	if err != nil {
		return Network{}, nil, err
	}
	entry, declared := s.Store.Get(name)
	if !declared {
		if entry.Network, err = s.adopted(ctx, o, define); err != nil {
			return Network{}, nil, err
		}
	}
	seen, err := s.Kernel.LearnedMACs(ctx)
	if err != nil {
		return Network{}, nil, failed(what, err)
	}
	ports := o.Ports(func(l netdrv.Link) netdrv.MAC {
		if macs := seen[l.Index]; len(macs) == 1 {
			return macs[0]
		}
		return netdrv.MAC{}
	})
	var fs netdrv.Findings
	var links []string
	for i := range ports {
		links = append(links, ports[i].Link)
		for _, f := range netdrv.ValidatePort(&ports[i], &entry.Network) {
			fs.Add("ports."+ports[i].Link+"."+f.Path, "%s", f.Why)
		}
	}
	if fs != nil {
		return Network{}, nil, findingsError(Precondition, what, fs)
	}
	if !dryRun {
		if entry, err = s.adopt(ctx, entry, declared, ports); err != nil {
			return Network{}, nil, failed(what, err)
		}
	}
	return s.view(&entry), links, nil
}

// adopted is the definition of an orphan: what the host shows, completed by define.
func (s *Service) adopted(ctx context.Context, o *netdrv.Orphan, define func(netdrv.Network) (Definition, error)) (netdrv.Network, error) {
	shown := o.Adopted()
	if t, ok := s.Engine.Treatment(shown.Bridge.Name); ok && t.Exact && shown.Mode == 0 {
		shown.Mode, shown.NAT.IPv6 = t.Mode, t.IPv6NAT
	}
	d, err := define(shown)
	switch {
	case err != nil:
		return shown, err
	case d.Name != o.Network:
		return shown, refuse(Invalid, "the definition is of network %s, and the orphan is %s", d.Name, o.Network)
	case d.Mode == 0 && d.Unread == nil:
		return shown, refuse(Invalid, "the host does not show the mode of network %s: give it with --mode (nat, route, open or isolated), or the whole definition with -f FILE", o.Network)
	}
	host, err := s.Engine.FreshHost(ctx)
	if err != nil {
		return shown, failed("adopt network "+o.Network, err)
	}
	n, err := s.check(ctx, d, &shown, host.Without(o))
	n.Autostart = d.Autostart == nil || *d.Autostart
	return n, err
}

// adopt stores a network and its ports, and reconciles them. If the network is not up as
// declared then, it is an orphan again.
func (s *Service) adopt(ctx context.Context, entry store.Entry, declared bool, ports []netdrv.Port) (store.Entry, error) {
	name := entry.Network.Name
	err := s.Engine.Declare(func() error {
		for _, p := range ports {
			if err := s.Store.PutPort(p); err != nil {
				return err
			}
		}
		if declared {
			return nil
		}
		change, err := s.Store.Adopt(entry.Network, true)
		if entry = change.Entry; err == nil {
			err = change.Stored()
		}
		if err == nil {
			change.Keep()
		}
		return err
	})
	if err == nil {
		err = s.converge(ctx, name)
	}
	if err != nil {
		back := s.Engine.Declare(func() (err error) {
			for _, p := range ports {
				err = errors.Join(err, s.Store.DisownPort(p.Link))
			}
			if !declared {
				err = errors.Join(err, s.Store.Disown(name))
			}
			return err
		})
		if back = errors.Join(back, s.Engine.Reconcile(ctx)); back != nil {
			s.Log.Error("adoption not rolled back", "network", name, "err", back)
		}
		return entry, err
	}
	if !declared {
		s.publish(event.NetworkCreated, &entry)
	}
	return entry, s.Engine.Reconcile(ctx)
}

// Forget removes the links of a network that is not declared, and returns them. One with
// guests is removed only with force.
func (s *Service) Forget(ctx context.Context, name string, force bool) ([]string, error) {
	ctx, end := s.begin(ctx)
	defer end()
	what := "forget network " + name
	o, err := s.orphan(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(o.Guests) > 0 && !force {
		return nil, refuse(Precondition, "orphaned network %s has guests: %s; detach them, declare it with `vnetctl network adopt %s`, or remove it with --force", name, strings.Join(o.Guests, ", "), name)
	}
	links := map[string]bool{}
	for _, l := range o.Links {
		links[l.Name] = true
	}
	removed := slices.Sorted(maps.Keys(links))
	if err := s.Store.Remove(nil, removed); err != nil {
		return nil, failed(what, err)
	}
	if err := s.Engine.Reconcile(ctx); err != nil {
		return nil, failed(what, err)
	}
	have, err := s.Engine.LookAtHost(ctx)
	if err != nil {
		return nil, failed(what, err)
	}
	for _, l := range have.Links {
		if links[l.Name] {
			return nil, refuse(Internal, "%s: link %s is still there; the daemon's log says why", what, l.Name)
		}
	}
	if _, declared := s.Store.Get(name); !declared {
		err = s.Leases.Forget(name)
	}
	return removed, failed(what, err)
}
