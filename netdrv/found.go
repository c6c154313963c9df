package netdrv

import "fmt"

// Found says what a step found wrong, for one that mends what stood before:
// "address 192.168.10.1/24 was gone from lab0".
func Found(s Step) string {
	switch s := s.(type) {
	case LinkAdd:
		return fmt.Sprintf("link %s was gone", s.Link.Name)
	case LinkSet:
		return fmt.Sprintf("link %s was changed", s.Link.Name)
	case LinkUp:
		return fmt.Sprintf("link %s was down", s.Name)
	case LinkDown:
		return fmt.Sprintf("link %s was up", s.Name)
	case LinkDel:
		return fmt.Sprintf("link %s was there", s.Name)
	case AddrAdd:
		return fmt.Sprintf("address %s was gone from %s", s.Addr.Prefix, s.Addr.Link)
	case AddrDel:
		return fmt.Sprintf("address %s was on %s", s.Addr.Prefix, s.Addr.Link)
	case RouteAdd:
		return fmt.Sprintf("route %s was gone", s.Route)
	case RouteDel:
		return fmt.Sprintf("route %s was there", s.Route)
	case MemberAdd:
		return fmt.Sprintf("%s was off %s", s.Member.Link, s.Member.Bridge)
	case MemberDel:
		return fmt.Sprintf("%s was on %s", s.Member.Link, s.Member.Bridge)
	case MemberSet:
		return fmt.Sprintf("%s was isolated %s", s.Member.Link, onOff(!s.Member.Isolated))
	case QueueSet:
		if s.Have.Link == "" {
			return fmt.Sprintf("what leaves by %s was not held back", s.Queue.Link)
		}
		return fmt.Sprintf("what leaves by %s was held back otherwise", s.Queue.Link)
	case QueueDel:
		return fmt.Sprintf("what leaves by %s was held back", s.Link)
	case RedirectAdd:
		return fmt.Sprintf("what comes in by %s was not held back", s.Redirect.Link)
	case RedirectDel:
		return fmt.Sprintf("what comes in by %s was held back", s.Link)
	case SysctlSet:
		return fmt.Sprintf("%s was not %s", s.Sysctl.Key, s.Sysctl.Value)
	}
	return foundUplink(s)
}
