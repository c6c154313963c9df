package firewall

import (
	"fmt"
	"strings"
)

// TableName is the name of every table that is ours, in any family.
const TableName = "vnetd"

// Ruleset is everything that the kernel should hold for us. The zero value
// means: no table at all.
type Ruleset struct {
	Tables []Table
}

// String returns the tables one after the other, each as Table.String.
func (r Ruleset) String() string {
	var b strings.Builder
	for _, t := range r.Tables {
		b.WriteString(t.String())
	}
	return b.String()
}

// Family says which packets a table sees.
type Family uint8

const (
	// INet tables see IPv4 and IPv6.
	INet Family = iota + 1
	// Bridge tables see frames that a bridge switches.
	Bridge
)

// String returns nft's word for the family.
func (f Family) String() string {
	return [...]string{"family(0)", "inet", "bridge"}[min(f, Bridge)]
}

// Table holds sets and chains. Their order is the order in which they are made
// and listed, and decides nothing else.
type Table struct {
	Family Family
	Name   string
	Sets   []Set
	Chains []Chain
}

// ID returns the table's family and name, as in "inet vnetd".
func (t Table) ID() string { return t.Family.String() + " " + t.Name }

// String returns the table as "nft -s list table" of nft 1.0.6 prints it, but
// for the line of flags that a table with an owner has.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s {\n", t.ID())
	for i, s := range t.Sets {
		if i > 0 {
			b.WriteString("\n")
		}
		s.write(&b)
	}
	for i, c := range t.Chains {
		if i > 0 || len(t.Sets) > 0 {
			b.WriteString("\n")
		}
		c.write(&b)
	}
	b.WriteString("}\n")
	return b.String()
}
