package tapbroker

import (
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/vnetd/vnetd/netdrv"
)

// caller is the user of a connection.
type caller struct {
	UID    uint32
	Groups []uint32
	// Admin: root, the daemon's own user, or a member of the admin group.
	Admin bool
}

// accounts resolves users and groups.
type accounts interface {
	uid(name string) (uint32, bool)
	gid(name string) (uint32, bool)
	// groups returns those of a user that are known.
	groups(uid uint32) []uint32
}

// refuse returns why a caller gets no port of a network, or the entry of the access list that
// grants it (netdrv.Port.Granted). held is how many ports of the network the caller has, mac the
// requested one, zero if none is.
func refuse(n *netdrv.Network, who caller, held int, mac netdrv.MAC, known accounts) (granted, why string) {
	a := &n.Access
	most := a.MaxPorts
	if most == 0 {
		most = netdrv.DefaultMaxPorts
	}
	granted = grant(a, who, known)
	switch {
	case who.Admin:
		return netdrv.GrantedAdmin, ""
	case granted == "":
		return "", fmt.Sprintf("user %d may not take ports of network %s; an administrator can name the user or a group in its access list", who.UID, n.Name)
	case held >= most:
		return "", fmt.Sprintf("user %d has %d ports of network %s, and may have no more", who.UID, held, n.Name)
	case !mac.IsZero() && !a.Allows(mac):
		return "", fmt.Sprintf("%s is not among the addresses of network %s's guests, which begin with %s", mac, n.Name, a.MACPrefix)
	}
	return granted, ""
}

// grant is the first entry of an access list that names a caller, or "".
func grant(a *netdrv.Access, who caller, known accounts) string {
	for _, name := range a.Users {
		if uid, ok := known.uid(name); ok && uid == who.UID {
			return "user " + name
		}
	}
	for _, name := range a.Groups {
		if gid, ok := known.gid(name); ok && slices.Contains(who.Groups, gid) {
			return "group " + name
		}
	}
	return ""
}

// MayHold reports whether the user of a transient port may keep it: the entry that granted it
// is still in the access list, or another names the user. A process keeps the groups that it was
// started with, so that the present members of a group do not matter.
func MayHold(n *netdrv.Network, p *netdrv.Port) bool { return mayHold(&n.Access, p, hostAccounts{}) }

func mayHold(a *netdrv.Access, p *netdrv.Port, known accounts) bool {
	kind, name, _ := strings.Cut(p.Granted, " ")
	switch {
	case p.Granted == netdrv.GrantedAdmin, kind == "user" && slices.Contains(a.Users, name), kind == "group" && slices.Contains(a.Groups, name):
		return true
	case kind == "": // by an earlier vnetd, which did not note it
		return p.Owner == 0 || len(a.Users)+len(a.Groups) > 0
	}
	return grant(a, caller{UID: p.Owner, Groups: known.groups(p.Owner)}, known) != ""
}

// hostAccounts are those of the host. They are read each time: accounts are added while the
// daemon runs.
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

func (hostAccounts) groups(uid uint32) []uint32 {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil
	}
	var out []uint32
	ids, _ := u.GroupIds()
	for _, id := range ids {
		if gid, ok := number(id); ok {
			out = append(out, gid)
		}
	}
	return out
}

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}
