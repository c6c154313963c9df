// Package option holds what a DHCP server of either family tells its clients
// besides their addresses: options by number, and whose word counts.
//
//	var l option.List
//	l.Addrs(6, servers)                       // values in the wire's format
//	l.Omit(15)                                // what follows says it, and it is not sent
//	book, err := option.NewBook(cfg, render)  // checked
//	set := book.Set(&client, own)             // what counts for a client, rendered
//	reply = append(reply, set.Get(6)...)
//
// # Whose word counts
//
// For each option by itself: the client's reservation, then its tags in the
// order in which they stand, then the subnet. Who comes first says the value,
// or that the option is not sent.
//
// # What it costs
//
// A combination of reservation and tags is rendered when it first comes up, and
// kept; so a reply is put together without allocating. What is kept is bounded,
// and forgotten as a whole when the bound is reached.
package option
