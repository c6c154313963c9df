package option

import (
	"errors"
	"fmt"
	"sync"
)

// MaxTags is how many tags a Book can have.
const MaxTags = 64

// maxSets bounds the cached combinations. A guest can choose the classes that it sends, but
// a few sets of some hundred octets are all that this costs.
const maxSets = 256

// A Book has the options of a subnet for each of its clients. It may be used from any
// goroutine.
type Book struct {
	subnet List
	tags   []Tag
	render Render
	plain  *Set // of a client without reservation and tags

	mu   sync.RWMutex
	sets map[key]*Set
}

// Render writes one option in wire format, with its code and length. all are
// those of the client, sorted by code.
type Render func(o Option, all List) []byte

// An Own has the options of a reservation, see Book.Own.
type Own struct {
	options List
	tags    uint64
}

type key struct {
	own  *Own
	tags uint64
}

// NewBook makes a book of the options of a subnet and of its tags. The error has a
// line for each finding, with the path of what is wrong.
func NewBook(subnet List, tags []Tag, render Render) (*Book, error) {
	b := &Book{subnet: subnet, tags: tags, render: render, sets: map[key]*Set{}}
	var errs []error
	if len(tags) > MaxTags {
		errs = append(errs, fmt.Errorf("tags: more than %d", MaxTags))
	}
	for i, t := range tags {
		if j, _ := b.tag(t.Name); j < i {
			errs = append(errs, fmt.Errorf("tags[%d]: %q is the name of tags[%d], too", i, t.Name, j))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	b.plain = b.compose(key{})
	return b, nil
}

func (b *Book) tag(name string) (int, bool) {
	for i := range b.tags {
		if b.tags[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

// Own reads a reservation's options and the names of its tags. It is nil if
// there are none.
func (b *Book) Own(options List, tags []string) (*Own, error) {
	if len(options) == 0 && len(tags) == 0 {
		return nil, nil
	}
	own := &Own{options: options}
	for i, name := range tags {
		n, ok := b.tag(name)
		if !ok {
			return nil, fmt.Errorf("tags[%d]: there is no tag %q", i, name)
		}
		own.tags |= 1 << n
	}
	return own, nil
}

// Set returns the options of a client. own are those of its reservation, or nil.
func (b *Book) Set(c *Client, own *Own) *Set {
	k := key{own: own}
	if own != nil {
		k.tags = own.tags
	}
	for i := range b.tags {
		if b.tags[i].Match.Fits(c) {
			k.tags |= 1 << i
		}
	}
	if k == (key{}) {
		return b.plain
	}
	b.mu.RLock()
	s := b.sets[k]
	b.mu.RUnlock()
	if s != nil {
		return s
	}
	s = b.compose(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sets) >= maxSets {
		clear(b.sets)
	}
	b.sets[k] = s
	return s
}

func (b *Book) compose(k key) *Set {
	var lists []List
	if k.own != nil {
		lists = append(lists, k.own.options)
	}
	for i := range b.tags {
		if k.tags&(1<<i) != 0 {
			lists = append(lists, b.tags[i].Options)
		}
	}
	all := Merge(append(lists, b.subnet)...)
	s := &Set{}
	for _, o := range all {
		s.all = append(s.all, rendered{o.Code, b.render(o, all)})
		if int(o.Code) < len(s.index) && len(s.all) <= 255 {
			s.index[o.Code] = uint8(len(s.all))
		}
	}
	return s
}

// A Set is options that are ready to be sent.
type Set struct {
	index [256]uint8 // one more than the index of a code in all, if the code is below 256
	all   []rendered
}

type rendered struct {
	code  uint16
	whole []byte
}

// Get returns an option with its code and length, nil if it is not sent.
func (s *Set) Get(code uint16) []byte {
	if int(code) < len(s.index) {
		if at := s.index[code]; at > 0 {
			return s.all[at-1].whole
		}
		return nil
	}
	for i := range s.all {
		if s.all[i].code == code {
			return s.all[i].whole
		}
	}
	return nil
}
