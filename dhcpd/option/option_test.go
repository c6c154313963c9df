package option

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func text(o Option, _ List) []byte { return fmt.Appendf(nil, "%d=%s", o.Code, o.Value) }

func list(pairs ...any) (l List) {
	for i := 0; i < len(pairs); i += 2 {
		l.Text(uint16(pairs[i].(int)), pairs[i+1].(string))
	}
	return l
}

func omit(l List, code uint16) List {
	l.Omit(code)
	return l
}

func TestValues(t *testing.T) {
	var l List
	l.Addrs(1, []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")})
	l.Addrs(2, []netip.Addr{netip.MustParseAddr("fd00::1")})
	l.Names(3, []string{"a.test.", "not..one", "b"})
	l.Uint16(4, 1400)
	l.Seconds(5, 30*time.Minute)
	l.Text(6, "x")
	l.Bytes(7, []byte{0})
	for code := uint16(10); code < 16; code++ { // nothing is nothing
		l.Addrs(code, nil)
		l.Names(code, nil)
		l.Uint16(code, 0)
		l.Seconds(code, 0)
		l.Text(code, "")
		l.Bytes(code, nil)
	}
	want := List{
		{1, []byte{10, 0, 0, 1, 10, 0, 0, 2}},
		{2, []byte{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
		{3, []byte("\x01a\x04test\x00\x01b\x00")},
		{4, []byte{5, 0x78}},
		{5, []byte{0, 0, 7, 8}},
		{6, []byte("x")},
		{7, []byte{0}},
	}
	if diff := cmp.Diff(want, l); diff != "" {
		t.Error(diff)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"a.b": true, "a.b.": true, long: true, long + "a": false, "": false, ".": false, "a..b": false, ".a": false,
		strings.Repeat(long+".", 3) + long[:61]: true, strings.Repeat(long+".", 3) + long[:62]: false,
	} {
		b, ok := AppendName([]byte("before"), name)
		if ok != want || !ok && string(b) != "before" || ok && len(b) != 6+len(strings.TrimSuffix(name, "."))+2 {
			t.Errorf("%q: %q, %v", name, b, ok)
		}
	}
}

func TestMatch(t *testing.T) {
	c := Client{
		MAC: [6]byte{0x52, 0x54, 0, 1, 2, 3}, Hostname: []byte("Web-1.lab.test"),
		VendorClass: Class{Value: []byte("PXEClient:Arch:00007")},
		UserClass:   Class{Value: []byte("\x04desk\x05phone"), Width: 1},
	}
	for _, tt := range []struct {
		m    Match
		want bool
	}{
		{Match{}, false},
		{Match{VendorClass: "PXEClient:Arch:00007"}, true},
		{Match{VendorClass: "PXEClient"}, false},
		{Match{VendorClass: "PXEClient*"}, true},
		{Match{VendorClass: "*"}, true},
		{Match{VendorClass: "pxeclient*"}, false},
		{Match{UserClass: "phone"}, true},
		{Match{UserClass: "desk"}, true},
		{Match{UserClass: "des"}, false},
		{Match{UserClass: "d*"}, true},
		{Match{UserClass: "\x04desk"}, false},
		{Match{Hostname: "web-1"}, true},
		{Match{Hostname: "WEB-*"}, true},
		{Match{Hostname: "web"}, false},
		{Match{Hostname: "web-10*"}, false},
		{Match{MACPrefix: "\x52\x54\x00"}, true},
		{Match{MACPrefix: "\x52\x54\x01"}, false},
		{Match{MACPrefix: "\x52\x54\x00", UserClass: "phone"}, true},
		{Match{MACPrefix: "\x52\x54\x00", UserClass: "tv"}, false},
	} {
		if got := tt.m.Fits(&c); got != tt.want {
			t.Errorf("%+v: got %v", tt.m, got)
		}
	}
	if (&Match{VendorClass: "*"}).Fits(&Client{}) == false || (&Match{UserClass: "x"}).Fits(&Client{}) {
		t.Error("a client that says nothing: * is anything, x is not")
	}
}

func TestClasses(t *testing.T) {
	for _, tt := range []struct {
		value string
		width int
		class string
		want  bool
	}{
		{"iPXE", 1, "iPXE", true}, // as iPXE sends it, against RFC 3004
		{"\x04iPXE", 1, "iPXE", true},
		{"\x04iPXE", 0, "iPXE", false},
		{"\x00\x04iPXE", 2, "iPXE", true},
		{"\x00\x04iPXE\x00\x01x", 2, "x", true},
		{"\x00\x04iPXE\x00\x09x", 2, "iPXE", false}, // lies about its length
		{"\x04iPX", 1, "iPX", false},
		{"", 1, "x", false},
	} {
		c := Client{UserClass: Class{Value: []byte(tt.value), Width: tt.width}}
		if got := (&Match{UserClass: tt.class}).Fits(&c); got != tt.want {
			t.Errorf("%q, %d: is it %q? got %v", tt.value, tt.width, tt.class, got)
		}
	}
}

// Reservation before tags, tags in their order, and the subnet last; each option
// by itself; and what is not to be sent is not.
func TestPrecedence(t *testing.T) {
	book, err := NewBook(omit(list(1, "subnet", 2, "subnet", 3, "subnet", 4, "subnet", 500, "subnet"), 9), []Tag{
		{Name: "a", Match: Match{Hostname: "a*"}, Options: omit(list(2, "a", 3, "a"), 4)},
		{Name: "b", Match: Match{Hostname: "ab"}, Options: list(2, "b", 4, "b", 9, "b", 500, "b")},
		{Name: "named", Options: list(5, "named")},
	}, text)
	if err != nil {
		t.Fatal(err)
	}
	own, err := book.Own(omit(list(3, "own", 9, "own"), 1), []string{"named"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host string
		own  *Own
		want string
	}{
		{"x", nil, "1=subnet 2=subnet 3=subnet 4=subnet 500=subnet"},
		{"a", nil, "1=subnet 2=a 3=a 500=subnet"},
		{"ab", nil, "1=subnet 2=a 3=a 9=b 500=b"},
		{"x", own, "2=subnet 3=own 4=subnet 5=named 9=own 500=subnet"},
		{"ab", own, "2=a 3=own 5=named 9=own 500=b"},
	} {
		for range 2 { // the second from what is kept
			set := book.Set(&Client{Hostname: []byte(tt.host)}, tt.own)
			var got []string
			for _, code := range []uint16{1, 2, 3, 4, 5, 9, 255, 500, 501} {
				if o := set.Get(code); o != nil {
					got = append(got, string(o))
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%s, %v: got %q, want %q", tt.host, tt.own != nil, got, tt.want)
			}
		}
	}
}

func TestBookRefuses(t *testing.T) {
	_, err := NewBook(nil, append(make([]Tag, 0), Tag{Name: "a"}, Tag{Name: "b"}, Tag{Name: "a"}), text)
	if err == nil || err.Error() != `tags[2]: "a" is the name of tags[0], too` {
		t.Errorf("got %v", err)
	}
	many := make([]Tag, MaxTags+1)
	for i := range many {
		many[i].Name = fmt.Sprint(i)
	}
	if _, err := NewBook(nil, many, text); err == nil || err.Error() != "tags: more than 64" {
		t.Errorf("got %v", err)
	}
	book, err := NewBook(nil, many[:MaxTags], text)
	if err != nil {
		t.Fatal(err)
	}
	if own, err := book.Own(nil, nil); own != nil || err != nil {
		t.Errorf("got %v, %v", own, err)
	}
	if _, err := book.Own(nil, []string{"63", "64"}); err == nil || err.Error() != `tags[1]: there is no tag "64"` {
		t.Errorf("got %v", err)
	}
}

// A guest may say of itself whatever it likes: what that costs is bounded, and
// what comes again costs nothing.
func TestSetsAreBoundedAndKept(t *testing.T) {
	var tags []Tag
	for i := range 10 {
		tags = append(tags, Tag{Name: fmt.Sprint(i), Match: Match{UserClass: fmt.Sprint(i)}, Options: list(i+1, "x")})
	}
	book, err := NewBook(list(99, "y"), tags, text)
	if err != nil {
		t.Fatal(err)
	}
	client := func(n int) *Client {
		var classes []byte
		for i := range 10 {
			if n&(1<<i) != 0 {
				classes = append(classes, 1, byte('0'+i))
			}
		}
		return &Client{UserClass: Class{Value: classes, Width: 1}}
	}
	for n := range 1 << 10 {
		set := book.Set(client(n), nil)
		for i := range 10 {
			if got := set.Get(uint16(i+1)) != nil; got != (n&(1<<i) != 0) {
				t.Fatalf("client %b: tag %d fits: %v", n, i, got)
			}
		}
		if len(book.sets) > maxSets {
			t.Fatalf("%d sets are kept", len(book.sets))
		}
	}
	c := client(5)
	if a := testing.AllocsPerRun(100, func() { book.Set(c, nil).Get(3) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("PXEClient*", []byte("PXEClient:Arch:00000"), 0)
	f.Add("iPXE", []byte("\x04iPXE\x01a"), 1)
	f.Add("x", []byte("\x00\x01x\x00\xff"), 2)
	f.Fuzz(func(t *testing.T, pattern string, value []byte, width int) {
		c := Client{Hostname: value, VendorClass: Class{Value: value}, UserClass: Class{Value: value, Width: width & 3}}
		all := Match{VendorClass: pattern, UserClass: pattern, Hostname: pattern}
		if all.Fits(&c) && pattern != "" && !(&Match{VendorClass: pattern}).Fits(&c) {
			t.Fatalf("%q fits %q as a whole, and not in its parts", pattern, value)
		}
	})
}
