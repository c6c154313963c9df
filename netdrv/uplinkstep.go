package netdrv

import (
	"cmp"
	"fmt"
	"strings"
)

type (
	// UplinkAdd makes a link of the host a port of a bridge of ours, with both
	// up, and waits a moment for the bridge to see its carrier. UplinkDel takes it
	// out.
	UplinkAdd struct{ Uplink, Bridge string }
	UplinkDel struct{ Uplink, Bridge string }
	// UplinkUp brings a link of the host up that a definition gives to guests.
	UplinkUp struct{ Uplink string }
	// HoldingAdd puts something of the host's on another link, where it may be
	// already; HoldingDel takes it off the link that it is on, where it may be
	// gone. Back says that a bridge goes, and this before it.
	ObjectAdd struct {
		Object HostObject
		To     string
		Back   bool
	}
	ObjectDel struct {
		Object HostObject
		Back   bool
		Stale  bool // it stood for one that the kernel has learned by now
	}
	// SpentDel is that on a link of the host which is no uplink any more.
	PlaceholderDel struct{ Route LinkRoute }
)

// Withdraws reports whether a step is part of taking something down, which
// comes before the rules of the firewall change.
func Withdraws(s Step) bool {
	switch s := s.(type) {
	case LinkDel, UplinkDel, RedirectDel, QueueDel:
		return true
	case ObjectAdd:
		return s.Back
	case ObjectDel:
		return s.Back
	}
	return false
}

func (s UplinkAdd) String() string { return "ip link set " + s.Uplink + " master " + s.Bridge + " up" }
func (s UplinkUp) String() string  { return "ip link set " + s.Uplink + " up" }
func (s UplinkDel) String() string { return "ip link set " + s.Uplink + " nomaster" }

func (s ObjectAdd) String() string {
	h := s.Object
	more := strings.ReplaceAll(h.Attributes, "label "+cmp.Or(h.RawLink, h.Link)+":", "label "+s.To+":")
	return join("ip"+h.family(), string(h.Kind), "add", h.Key, "dev", s.To, more)
}

func (s ObjectDel) String() string {
	h := s.Object
	return join("ip"+h.family(), string(h.Kind), "del", h.Key, "dev", h.Link)
}

func (s PlaceholderDel) String() string { return "ip -6 route del " + s.Route.String() }

func join(words ...string) string { return strings.TrimSpace(strings.Join(words, " ")) }

// ExternalChanges returns the plans without what follows from our own earlier steps, and
// from nobody's meddling: guests come, and take their bandwidth along when they go.
func ExternalChanges(plans []Plan, newcomers map[string]bool) []Plan {
	var out []Plan
	for _, p := range plans {
		var steps []Step
		for _, s := range p.Steps {
			add, isAdd := s.(ObjectAdd)
			del, isDel := s.(ObjectDel)
			if isAdd && add.Object.Kind == ObjectNeighbour || isDel && del.Stale || changesPortTraffic(s, newcomers) {
				continue
			}
			steps = append(steps, s)
		}
		if len(steps) > 0 {
			out = append(out, Plan{Network: p.Network, Steps: steps})
		}
	}
	return out
}

// foundUplink is Found for the steps of this file.
func foundUplink(s Step) string {
	switch s := s.(type) {
	case UplinkAdd:
		return fmt.Sprintf("%s was off %s", s.Uplink, s.Bridge)
	case UplinkUp:
		return fmt.Sprintf("uplink %s was down", s.Uplink)
	case UplinkDel:
		return fmt.Sprintf("%s was in %s", s.Uplink, s.Bridge)
	case ObjectAdd:
		return fmt.Sprintf("%s %s was not on %s", s.Object.Kind.word(), s.Object.Key, s.To)
	case ObjectDel:
		return fmt.Sprintf("%s %s was on %s", s.Object.Kind.word(), s.Object.Key, s.Object.Link)
	}
	return s.String()
}
