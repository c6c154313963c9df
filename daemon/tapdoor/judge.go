package tapdoor

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"

	"github.com/vnetd/vnetd/netdrv"
)

// caller is who asks.
type caller struct {
	UID    uint32
	Groups []uint32
	// Admin: root, the daemon's own user, or a member of the admin group.
	Admin bool
}

// accounts finds the numbers of users and groups by name.
type accounts interface {
	uid(name string) (uint32, bool)
	gid(name string) (uint32, bool)
}

// refuse says why a caller gets no port of a network, or "". held are the ports of the
// network that he has, and mac is what he asks for; zero if he does not say.
func refuse(n *netdrv.Network, who caller, held int, mac netdrv.MAC, known accounts) string {
	a := &n.Access
	most := a.MaxPorts
	if most == 0 {
		most = netdrv.DefaultMaxPorts
	}
	switch {
	case who.Admin:
		return ""
	case !named(a, who, known):
		return fmt.Sprintf("user %d may not take ports of network %s; an administrator can name the user or a group in its access list", who.UID, n.Name)
	case held >= most:
		return fmt.Sprintf("user %d has %d ports of network %s, and may have no more", who.UID, held, n.Name)
	case !mac.IsZero() && !a.Allows(mac):
		return fmt.Sprintf("%s is not among the addresses of network %s's guests, which begin with %s", mac, n.Name, a.MACPrefix)
	}
	return ""
}

func named(a *netdrv.Access, who caller, known accounts) bool {
	isUser := func(name string) bool {
		uid, ok := known.uid(name)
		return ok && uid == who.UID
	}
	isGroup := func(name string) bool {
		gid, ok := known.gid(name)
		return ok && slices.Contains(who.Groups, gid)
	}
	return slices.ContainsFunc(a.Users, isUser) || slices.ContainsFunc(a.Groups, isGroup)
}

// hostAccounts are those of the host's passwd and group files. They are read every
// time: an account may be made while the daemon runs.
type hostAccounts struct{}

func (hostAccounts) uid(name string) (uint32, bool) {
	if u, err := user.Lookup(name); err == nil {
		name = u.Uid
	}
	return number(name)
}

func (hostAccounts) gid(name string) (uint32, bool) {
	if g, err := user.LookupGroup(name); err == nil {
		name = g.Gid
	}
	return number(name)
}

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}
