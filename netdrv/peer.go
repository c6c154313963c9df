package netdrv

import "slices"

// names reports whether n has o among its peers.
func (n *Network) lists(o *Network) bool { return slices.Contains(n.DNS.Peers, o.Name) }

// MayResolve reports whether n's guests are told o's names: n wants it, and either
// they may open connections to o's guests (reach), so that the names tell them
// nothing that a scan would not, or o names n in turn, which is its consent.
func MayResolve(n, o *Network, reach bool) bool { return n.lists(o) && (reach || o.lists(n)) }
