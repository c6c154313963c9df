// Package option has the options that a DHCP server of either family sends besides
// addresses: options by number, and their precedence.
//
//	var l option.List
//	l.Addrs(6, servers)                       // values in wire format
//	l.Omit(15)                                // not sent, whatever has lower precedence
//	book, err := option.NewBook(cfg, render)  // checked
//	set := book.Set(&client, own)             // the options of a client, rendered
//	reply = append(reply, set.Get(6)...)
//
// # Precedence
//
// Per option: the client's reservation, then its tags in their order, then the
// subnet. The first that has the option determines its value, or that it is not
// sent.
//
// # Cost
//
// A combination of reservation and tags is rendered when it first occurs, and
// cached; so a reply is made without allocations. The cache is bounded,
// and cleared when the bound is reached.
package option
