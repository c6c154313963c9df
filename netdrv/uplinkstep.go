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
	HoldingAdd struct {
		Holding Holding
		To      string
		Back    bool
	}
	HoldingDel struct {
		Holding Holding
		Back    bool
		Spent   bool // it stood for one that the kernel has learned by now
	}
	// SpentDel is that on a link of the host which is no uplink any more.
	SpentDel struct{ Route LinkRoute }
)

// Withdraws reports whether a step is part of taking something down, which
// comes before the rules of the firewall change.
func Withdraws(s Step) bool {
	switch s := s.(type) {
	case LinkDel, UplinkDel, RedirectDel, QueueDel:
		return true
	case HoldingAdd:
		return s.Back
	case HoldingDel:
		return s.Back
	}
	return false
}

func (s UplinkAdd) String() string { return "ip link set " + s.Uplink + " master " + s.Bridge + " up" }
func (s UplinkUp) String() string  { return "ip link set " + s.Uplink + " up" }
func (s UplinkDel) String() string { return "ip link set " + s.Uplink + " nomaster" }

func (s HoldingAdd) String() string {
	h := s.Holding
	more := strings.ReplaceAll(h.More, "label "+cmp.Or(h.Read, h.Link)+":", "label "+s.To+":")
	return join("ip"+h.family(), string(h.Kind), "add", h.Key, "dev", s.To, more)
}

func (s HoldingDel) String() string {
	h := s.Holding
	return join("ip"+h.family(), string(h.Kind), "del", h.Key, "dev", h.Link)
}

func (s SpentDel) String() string { return "ip -6 route del " + s.Route.String() }

func join(words ...string) string { return strings.TrimSpace(strings.Join(words, " ")) }

// Unasked returns the plans without what follows from our own earlier steps, and
// from nobody's meddling: guests come, and take their bandwidth along when they go.
func Unasked(plans []Plan, newcomers map[string]bool) []Plan {
	var out []Plan
	for _, p := range plans {
		var steps []Step
		for _, s := range p.Steps {
			add, isAdd := s.(HoldingAdd)
			del, isDel := s.(HoldingDel)
			if isAdd && add.Holding.Kind == HeldNeighbour || isDel && del.Spent || guestsTraffic(s, newcomers) {
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
	case HoldingAdd:
		return fmt.Sprintf("%s %s was not on %s", s.Holding.Kind.word(), s.Holding.Key, s.To)
	case HoldingDel:
		return fmt.Sprintf("%s %s was on %s", s.Holding.Kind.word(), s.Holding.Key, s.Holding.Link)
	}
	return s.String()
}
