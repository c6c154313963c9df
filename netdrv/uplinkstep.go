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
	// ObjectAdd copies an object of the host to another link, where it may be already;
	// ObjectDel deletes it from its link, where it may be gone. Back: the object returns
	// to an uplink, because its bridge is about to be removed.
	ObjectAdd struct {
		Object HostObject
		To     string
		Back   bool
	}
	ObjectDel struct {
		Object HostObject
		Back   bool
		Stale  bool // a placeholder of a route that the kernel has learned again
	}
	// PlaceholderDel deletes a stale placeholder from a link that is no uplink any more.
	PlaceholderDel struct{ Route LinkRoute }
)

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

func (s UplinkAdd) Cause() string { return s.Uplink + " was off " + s.Bridge }
func (s UplinkUp) Cause() string  { return "uplink " + s.Uplink + " was down" }
func (s UplinkDel) Cause() string { return s.Uplink + " was in " + s.Bridge }
func (s ObjectAdd) Cause() string {
	return fmt.Sprintf("%s %s was not on %s", s.Object.Kind.word(), s.Object.Key, s.To)
}

func (s ObjectDel) Cause() string {
	return fmt.Sprintf("%s %s was on %s", s.Object.Kind.word(), s.Object.Key, s.Object.Link)
}

func (s PlaceholderDel) Cause() string { return "placeholder route " + s.Route.String() + " was there" }

func (UplinkAdd) Removes() bool      { return false }
func (UplinkUp) Removes() bool       { return false }
func (UplinkDel) Removes() bool      { return true }
func (s ObjectAdd) Removes() bool    { return s.Back }
func (s ObjectDel) Removes() bool    { return s.Back }
func (PlaceholderDel) Removes() bool { return false }

func (s ObjectAdd) expected(map[string]bool) bool { return s.Object.Kind == ObjectNeighbour }
func (s ObjectDel) expected(map[string]bool) bool { return s.Stale }
