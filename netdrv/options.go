package netdrv

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Options are what DHCP tells guests besides their addresses (RFC 2132 and RFC
// 8415; the keys of definitions are in OptionKeys). A field that is zero says
// nothing: then others have a say, and at last the network.
type Options struct {
	Routers        []netip.Addr
	DNSServers     []netip.Addr
	Domain         string
	Search         []string
	Routes         []OptionRoute
	MTU            int
	NTPServers     []netip.Addr
	Vendor         string // octets
	VendorClass    string
	TFTPServerName string
	BootFile       string
	IPv6OnlyWait   time.Duration // V6ONLY_WAIT of RFC 8925
	CaptivePortal  string        // a URL
	RefreshTime    time.Duration // information refresh time of RFC 8415
	SolMaxRT       time.Duration
	InfMaxRT       time.Duration
	Custom         []CustomOption
	// Omit are options that are not sent, whatever others say: keys, or numbers.
	Omit []string
}

// OptionRoute is a route that guests get (RFC 3442). Via 0.0.0.0 says that the
// destination is on the link.
type OptionRoute struct {
	Destination netip.Prefix
	Via         netip.Addr
}

// CustomOption is an option by its number.
type CustomOption struct {
	Code  int
	Form  OptionForm // how Value is written in definitions
	Value string     // octets, as they are sent
}

// OptionForm is a way to write a value in a definition.
type OptionForm string

// The forms of values.
const (
	FormIPv4    OptionForm = "IPv4 addresses"
	FormIPv6    OptionForm = "IPv6 addresses"
	FormText    OptionForm = "text"
	FormHex     OptionForm = "hex"
	FormU8      OptionForm = "u8"
	FormU16     OptionForm = "u16"
	FormU32     OptionForm = "u32"
	FormDomains OptionForm = "domains" // in the DNS's format
)

// Tag is options for some guests of a subnet: those that it fits, and those
// with a reservation that names it.
type Tag struct {
	Name    string
	Match   OptionMatch
	Options Options
}

// OptionMatch fits a guest that all fields fit that are not empty, and no guest if
// all are. A * at the end of a text stands for anything.
type OptionMatch struct {
	VendorClass string
	UserClass   string
	MACPrefix   string // octets
	Hostname    string
}

// MaxTags is how many tags a subnet can have.
const MaxTags = 64

// An OptionKey is an option that has a key of its own in definitions, and its
// numbers in each family; none where it does not exist.
type OptionKey struct {
	Key     string
	V4, V6  []int
	instead string // what to do in the other family
	set     func(*Options) bool
}

// OptionKeys are all of them.
var OptionKeys = []OptionKey{
	{"routers", []int{3}, nil, "IPv6 guests learn routers from advertisements (ra)", func(o *Options) bool { return len(o.Routers) > 0 }},
	{"dnsServers", []int{6}, []int{23}, "", func(o *Options) bool { return len(o.DNSServers) > 0 }},
	{"domain", []int{15}, nil, "in IPv6 use search", func(o *Options) bool { return o.Domain != "" }},
	{"search", []int{119}, []int{24}, "", func(o *Options) bool { return len(o.Search) > 0 }},
	{"routes", []int{121}, nil, "IPv6 guests learn routes from advertisements (ra.routes)", func(o *Options) bool { return len(o.Routes) > 0 }},
	{"mtu", []int{26}, nil, "IPv6 guests learn it from advertisements (bridge.mtu)", func(o *Options) bool { return o.MTU != 0 }},
	{"ntpServers", []int{42}, []int{31, 56}, "", func(o *Options) bool { return len(o.NTPServers) > 0 }},
	{"vendor", []int{43}, []int{17}, "", func(o *Options) bool { return o.Vendor != "" }},
	{"vendorClass", []int{60}, nil, "in IPv6 use custom with code 16", func(o *Options) bool { return o.VendorClass != "" }},
	{"tftpServerName", []int{66}, nil, "in IPv6 the server is in bootFile, a URL", func(o *Options) bool { return o.TFTPServerName != "" }},
	{"bootFile", []int{67}, []int{59}, "", func(o *Options) bool { return o.BootFile != "" }},
	{"ipv6OnlyWait", []int{108}, nil, "it tells IPv4 guests to do without IPv4", func(o *Options) bool { return o.IPv6OnlyWait != 0 }},
	{"captivePortal", []int{114}, []int{103}, "", func(o *Options) bool { return o.CaptivePortal != "" }},
	{"informationRefreshTime", nil, []int{32}, "IPv4 guests ask again when they renew (renewTime)", func(o *Options) bool { return o.RefreshTime != 0 }},
	{"solMaxRt", nil, []int{82}, "IPv4 has none", func(o *Options) bool { return o.SolMaxRT != 0 }},
	{"infMaxRt", nil, []int{83}, "IPv4 has none", func(o *Options) bool { return o.InfMaxRT != 0 }},
}

// Codes are the option's numbers in a family.
func (k *OptionKey) Codes(ipv6 bool) []int {
	if ipv6 {
		return k.V6
	}
	return k.V4
}

func optionKey(key string) (OptionKey, bool) {
	i := slices.IndexFunc(OptionKeys, func(k OptionKey) bool { return k.Key == key })
	if i < 0 {
		return OptionKey{}, false
	}
	return OptionKeys[i], true
}

// Omitted are the numbers, in a family, of the options that are not sent.
func (o *Options) Omitted(ipv6 bool) []int {
	var codes []int
	for _, word := range o.Omit {
		if k, ok := optionKey(word); ok {
			codes = append(codes, k.Codes(ipv6)...)
		} else if code, err := strconv.ParseUint(word, 10, 16); err == nil {
			codes = append(codes, int(code))
		}
	}
	return codes
}

// IsZero reports whether nothing is said.
func (o *Options) IsZero() bool {
	for _, k := range OptionKeys {
		if k.set(o) {
			return false
		}
	}
	return len(o.Custom) == 0 && len(o.Omit) == 0
}

func (o Options) clone() Options {
	o.Routers, o.DNSServers, o.NTPServers = slices.Clone(o.Routers), slices.Clone(o.DNSServers), slices.Clone(o.NTPServers)
	o.Search, o.Routes, o.Custom, o.Omit = slices.Clone(o.Search), slices.Clone(o.Routes), slices.Clone(o.Custom), slices.Clone(o.Omit)
	return o
}
