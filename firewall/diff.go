package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// Change turns one Ruleset into another. Within an Edit, and between its parts,
// the order of the fields is the order to work in.
type Change struct {
	// Delete are tables that go.
	Delete []Table
	// Replace are tables to be made, in place of those of the same ID if any.
	Replace []Table
	// Edits change tables and leave the counters of what stays alone.
	Edits []Edit
}

// Edit changes one table. A new element or chain may refer to new chains and
// sets only, or to such as stay.
type Edit struct {
	Table       Table   // family and name only
	AddSets     []Set   // without elements
	AddChains   []Chain // with rules
	DelElements []Set   // sets with those elements that go
	AddElements []Set   // sets with those elements that come
	DelChains   []Chain
	DelSets     []Set
}

// Diff returns the change from old to new. Elements that differ are edited, and
// sets and chains that come and go; a set or chain that stays under its name and
// is not the same otherwise means that the table is replaced.
func Diff(old, new Ruleset) Change {
	var c Change
	for _, t := range old.Tables {
		if _, ok := find(new.Tables, t.ID(), Table.ID); !ok {
			c.Delete = append(c.Delete, t)
		}
	}
	for _, t := range new.Tables {
		was, ok := find(old.Tables, t.ID(), Table.ID)
		if !ok {
			c.Replace = append(c.Replace, t)
			continue
		}
		e, ok := editTable(was, t)
		switch {
		case !ok:
			c.Replace = append(c.Replace, t)
		case len(e.AddSets)+len(e.AddChains)+len(e.DelElements)+len(e.AddElements)+len(e.DelChains)+len(e.DelSets) > 0:
			c.Edits = append(c.Edits, e)
		}
	}
	return c
}

func setName(s Set) string     { return s.Name }
func chainName(c Chain) string { return c.Name }

func find[T any](list []T, id string, idOf func(T) string) (T, bool) {
	i := slices.IndexFunc(list, func(t T) bool { return idOf(t) == id })
	if i < 0 {
		var none T
		return none, false
	}
	return list[i], true
}

// editTable returns the edit from old to new; ok is false if there is none, and the
// table has to be replaced.
func editTable(old, new Table) (e Edit, ok bool) {
	e.Table = Table{Family: new.Family, Name: new.Name}
	for _, c := range old.Chains {
		if _, ok := find(new.Chains, c.Name, chainName); !ok {
			e.DelChains = append(e.DelChains, c)
		}
	}
	for _, c := range new.Chains {
		was, ok := find(old.Chains, c.Name, chainName)
		if !ok {
			e.AddChains = append(e.AddChains, c)
			continue
		}
		// By text, which has everything of a rule.
		same := slices.EqualFunc(was.Rules, c.Rules, func(a, b Rule) bool { return a.String() == b.String() })
		if !same || was.Base != c.Base {
			return e, false
		}
	}
	for _, s := range old.Sets {
		if _, ok := find(new.Sets, s.Name, setName); !ok {
			e.elements(s, s.Elements, nil)
			e.DelSets = append(e.DelSets, s.with(nil))
		}
	}
	for _, s := range new.Sets {
		was, ok := find(old.Sets, s.Name, setName)
		if !ok {
			e.AddSets = append(e.AddSets, s.with(nil))
		} else if !slices.Equal(was.Key, s.Key) || was.Verdicts != s.Verdicts || was.To != s.To ||
			was.Interval != s.Interval || was.Counter != s.Counter || was.Dynamic != s.Dynamic {
			return e, false
		}
		e.elements(s, was.Elements, s.Elements)
	}
	return e, true
}

func (s Set) with(elements []Element) Set {
	s.Elements = elements
	return s
}

// elements walks both sorted lists at once.
func (e *Edit) elements(s Set, old, new []Element) {
	if len(old) == len(new) && (len(old) == 0 || &old[0] == &new[0]) {
		return // the very same, as in WithPorts
	}
	var del, add []Element
	for len(old) > 0 || len(new) > 0 {
		order := 0
		switch {
		case len(new) == 0:
			order = -1
		case len(old) == 0:
			order = 1
		case old[0] != new[0]:
			order = s.Compare(&old[0], &new[0])
			if order == 0 { // the same key with something else behind it
				del, add = append(del, old[0]), append(add, new[0])
			}
		}
		if order < 0 {
			del = append(del, old[0])
		}
		if order > 0 {
			add = append(add, new[0])
		}
		if order <= 0 {
			old = old[1:]
		}
		if order >= 0 {
			new = new[1:]
		}
	}
	if len(del) > 0 {
		e.DelElements = append(e.DelElements, s.with(del))
	}
	if len(add) > 0 {
		e.AddElements = append(e.AddElements, s.with(add))
	}
}

// String says in a line what changes, for logs.
func (c Change) String() string {
	var words []string
	for _, t := range c.Delete {
		words = append(words, "delete table "+t.ID())
	}
	for _, t := range c.Replace {
		words = append(words, fmt.Sprintf("replace table %s: %d chains, %d elements", t.ID(), len(t.Chains), count(t.Sets)))
	}
	for _, e := range c.Edits {
		words = append(words, e.String())
	}
	return strings.Join(words, "; ")
}

// String says in a line what changes, for logs.
func (e Edit) String() string {
	words := "edit table " + e.Table.ID() + ":"
	for _, c := range e.DelChains {
		words += " -chain " + c.Name
	}
	for _, c := range e.AddChains {
		words += " +chain " + c.Name
	}
	return fmt.Sprintf("%s -%d +%d elements", words, count(e.DelElements), count(e.AddElements))
}

func count(sets []Set) int {
	n := 0
	for _, s := range sets {
		n += len(s.Elements)
	}
	return n
}
