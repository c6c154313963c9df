package netdrv

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What one option may hold. A reply is a packet, and a router's advertisement
// has to fit into 1280 octets.
const (
	maxOptionAddrs  = 16
	maxOptionText   = 255
	maxSearch       = 512
	maxOptionRoutes = 32
	maxCustom       = 64
	maxCustomValue  = 1000
)

// MinRenewTime is the shortest T1 that a definition may ask for.
const MinRenewTime = 10 * time.Second

// optionScope is where options stand.
type optionScope struct {
	fs     *Findings
	path   string
	subnet netip.Prefix
	o      *Options
}

func (c *optionScope) wrong(field, format string, args ...any) {
	c.fs.Add(c.path+"."+field, format, args...)
}

func (c *optionScope) ipv6() bool { return c.subnet.Addr().Is6() }

// validateTold is about what DHCP tells guests, and when they ask.
func validateTold(fs *Findings, path string, s Subnet) {
	d := s.DHCP
	validateTimes(fs, path, s)
	validateOptions(fs, path+".options", s.Address, &d.Options)
	names := map[string]int{}
	if len(d.Tags) > MaxTags {
		fs.Add(path+".tags", "are more than %d", MaxTags)
	}
	for i := range d.Tags {
		validateTag(fs, index(path+".tags", i), s.Address, &d.Tags[i])
		once(fs, index(path+".tags", i)+".name", path+".tags", names, d.Tags[i].Name, i)
	}
	told := func(path string, subnet netip.Prefix, rs []Reservation) {
		for i := range rs {
			at := index(path+".reservations", i)
			validateOptions(fs, at+".options", subnet, &rs[i].Options)
			for j, tag := range rs[i].Tags {
				if _, ok := names[tag]; !ok {
					fs.Add(index(at+".tags", j), "%q is none of the subnet's dhcp.tags", tag)
				}
			}
		}
	}
	told(path, s.Address, d.Reservations)
	for i, r := range d.Relayed {
		told(index(path+".relayed", i), r.Subnet, r.Reservations)
	}
}

// validateTimes: T1, T2 and the end of the lease come in this order (RFC 2131
// section 4.4.5, RFC 8415 section 21.4).
func validateTimes(fs *Findings, path string, s Subnet) {
	d := s.DHCP
	lease := cmp.Or(d.LeaseTime, DefaultLeaseTime)
	rebind := cmp.Or(d.RebindTime, lease/8*7)
	if s.IsIPv6() {
		rebind = cmp.Or(d.RebindTime, lease/5*4)
	}
	switch {
	case d.RenewTime != 0 && d.RenewTime < MinRenewTime:
		fs.Add(path+".renewTime", "%s is shorter than %s", d.RenewTime, MinRenewTime)
	case d.RenewTime > rebind:
		fs.Add(path+".renewTime", "%s is not before rebindTime, %s", d.RenewTime, rebind)
	}
	switch {
	case d.RebindTime != 0 && d.RebindTime < MinRenewTime:
		fs.Add(path+".rebindTime", "%s is shorter than %s", d.RebindTime, MinRenewTime)
	case d.RebindTime >= lease:
		fs.Add(path+".rebindTime", "%s is not before the lease ends, after %s", d.RebindTime, lease)
	}
}

func validateTag(fs *Findings, path string, subnet netip.Prefix, t *Tag) {
	if !nameRE.MatchString(t.Name) {
		fs.Add(path+".name", "%q is not a name: use 1 to 63 letters, digits, '-', '_' or '.', the first a letter or digit", t.Name)
	}
	if len(t.Match.MACPrefix) > len(MAC{}) {
		fs.Add(path+".match.macPrefix", "has more than 6 octets")
	}
	for _, m := range []struct{ key, text string }{
		{"vendorClass", t.Match.VendorClass}, {"userClass", t.Match.UserClass}, {"hostname", t.Match.Hostname},
	} {
		if i := strings.Index(m.text, "*"); i >= 0 && i < len(m.text)-1 {
			fs.Add(path+".match."+m.key, "%q has a * that is not at its end", m.text)
		}
	}
	if t.Options.IsZero() {
		fs.Add(path+".options", "are missing: the tag changes nothing")
	}
	validateOptions(fs, path+".options", subnet, &t.Options)
}

func validateOptions(fs *Findings, path string, subnet netip.Prefix, o *Options) {
	c := &optionScope{fs, path, subnet, o}
	for _, k := range OptionKeys {
		if k.set(o) && len(k.Codes(c.ipv6())) == 0 {
			c.wrong(k.Key, "is not for %s subnets: %s", family(c.ipv6()), k.instead)
		}
	}
	c.addrs("routers", o.Routers)
	c.addrs("dnsServers", o.DNSServers)
	c.addrs("ntpServers", o.NTPServers)
	c.routers()
	c.domains()
	c.routes()
	c.texts()
	c.numbers()
	c.custom()
	c.omit()
}

func family(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

func (c *optionScope) addrs(key string, addrs []netip.Addr) {
	if len(addrs) > maxOptionAddrs {
		c.wrong(key, "are more than %d addresses", maxOptionAddrs)
	}
	for i, a := range addrs {
		switch {
		case !a.IsValid():
		case a.Is6() != c.ipv6():
			c.wrong(index(key, i), "%s is not %s, as the subnet is", a, family(c.ipv6()))
		case a.IsUnspecified() || a.IsMulticast():
			c.wrong(index(key, i), "%s is not the address of a server", a)
		}
	}
}

// routers: guests reach their routers by the link.
func (c *optionScope) routers() {
	for i, a := range c.o.Routers {
		if why := hostProblem(a, c.subnet); a.Is4() && !c.ipv6() && why != "" {
			c.wrong(index("routers", i), "%s", why)
		}
	}
}

func (c *optionScope) domains() {
	if why := DomainProblem(c.o.Domain); c.o.Domain != "" && why != "" {
		c.wrong("domain", "%s", why)
	}
	size := 0
	for i, d := range c.o.Search {
		size += len(d) + 2
		if why := DomainProblem(d); why != "" {
			c.wrong(index("search", i), "%s", why)
		}
	}
	if size > maxSearch {
		c.wrong("search", "takes %d octets, more than %d", size, maxSearch)
	}
}

func (c *optionScope) routes() {
	if c.ipv6() {
		return
	}
	if len(c.o.Routes) > maxOptionRoutes {
		c.wrong("routes", "are more than %d", maxOptionRoutes)
	}
	seen := map[netip.Prefix]int{}
	for i, r := range c.o.Routes {
		at := index("routes", i)
		switch {
		case !r.Destination.IsValid() || !r.Via.IsValid():
			continue
		case !r.Destination.Addr().Is4():
			c.wrong(at+".destination", "%s is not IPv4", r.Destination)
		case !r.Via.Is4():
			c.wrong(at+".via", "%s is not IPv4", r.Via)
		case !r.Via.IsUnspecified():
			if why := hostProblem(r.Via, c.subnet); why != "" {
				c.wrong(at+".via", "%s; 0.0.0.0 says that the destination is on the link", why)
			}
		}
		once(c.fs, c.path+"."+at+".destination", c.path+".routes", seen, r.Destination, i)
	}
}

func (c *optionScope) texts() {
	o := c.o
	for _, t := range []struct{ key, text string }{
		{"vendorClass", o.VendorClass},
		{"tftpServerName", o.TFTPServerName},
		{"bootFile", o.BootFile},
		{"captivePortal", o.CaptivePortal},
	} {
		if why := textProblem(t.text); why != "" {
			c.wrong(t.key, "%s", why)
		}
	}
	if u, err := url.Parse(o.CaptivePortal); o.CaptivePortal != "" && (err != nil || u.Scheme == "") {
		c.wrong("captivePortal", "%q is not a URL, such as https://portal.example/api", o.CaptivePortal)
	}
	if u, err := url.Parse(o.BootFile); o.BootFile != "" && c.ipv6() && (err != nil || u.Scheme == "") {
		c.wrong("bootFile", "%q is not a URL, such as tftp://[fd00::1]/boot.efi (RFC 5970)", o.BootFile)
	}
	if c.ipv6() && o.Vendor != "" && len(o.Vendor) < 4 {
		c.wrong("vendor", "begins with an enterprise number of 4 octets in IPv6 (RFC 8415 section 21.17)")
	}
	if len(o.Vendor) > maxCustomValue {
		c.wrong("vendor", "is %d octets long, more than %d", len(o.Vendor), maxCustomValue)
	}
}

func textProblem(text string) string {
	if len(text) > maxOptionText {
		return fmt.Sprintf("is longer than %d octets", maxOptionText)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "has a control character in it"
	}
	return ""
}

// numbers: the bounds are those of RFC 2132 section 5.1, RFC 8925 section 3.4,
// RFC 8415 sections 7.6, 21.23, 21.24 and 21.25.
func (c *optionScope) numbers() {
	o := c.o
	if o.MTU != 0 && (o.MTU < 68 || o.MTU > 65535) {
		c.wrong("mtu", "%d is outside 68 to 65535", o.MTU)
	}
	for _, n := range []struct {
		key       string
		time      time.Duration
		low, high time.Duration
	}{
		{"ipv6OnlyWait", o.IPv6OnlyWait, 5 * time.Minute, longestTime},
		{"informationRefreshTime", o.RefreshTime, 10 * time.Minute, longestTime},
		{"solMaxRt", o.SolMaxRT, time.Minute, 24 * time.Hour},
		{"infMaxRt", o.InfMaxRT, time.Minute, 24 * time.Hour},
	} {
		if n.time != 0 && (n.time < n.low || n.time > n.high) {
			c.wrong(n.key, "%s is outside %s to %s", n.time, n.low, n.high)
		}
	}
}

// longestTime is the longest time in whole hours that 32 bits of seconds can say.
const longestTime = (1<<32 - 1) / 3600 * time.Hour

func (c *optionScope) custom() {
	if len(c.o.Custom) > maxCustom {
		c.wrong("custom", "are more than %d", maxCustom)
	}
	seen := map[int]int{}
	for i, x := range c.o.Custom {
		at := index("custom", i)
		if why := CustomCodeProblem(x.Code, c.ipv6()); why != "" {
			c.wrong(at+".code", "%s", why)
		}
		once(c.fs, c.path+"."+at+".code", c.path+".custom", seen, x.Code, i)
		if x.Form == FormIPv4 && c.ipv6() || x.Form == FormIPv6 && !c.ipv6() {
			c.wrong(at, "has %s, and the subnet is %s", x.Form, family(c.ipv6()))
		}
		if len(x.Value) > maxCustomValue {
			c.wrong(at, "is %d octets long, more than %d", len(x.Value), maxCustomValue)
		}
	}
}

func (c *optionScope) omit() {
	for i, word := range c.o.Omit {
		at := index("omit", i)
		if k, ok := optionKey(word); ok {
			switch {
			case len(k.Codes(c.ipv6())) == 0:
				c.wrong(at, "%s is not for %s subnets", word, family(c.ipv6()))
			case k.set(c.o):
				c.wrong(at, "%s is given here, too; leave out one", word)
			}
			continue
		}
		code, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			c.wrong(at, "%q is neither a key of an option nor a number; keys are %s", word, keysOf(c.ipv6()))
			continue
		}
		if why := CustomCodeProblem(int(code), c.ipv6()); why != "" {
			c.wrong(at, "%s", why)
		}
		if slices.ContainsFunc(c.o.Custom, func(x CustomOption) bool { return x.Code == int(code) }) {
			c.wrong(at, "%d is given in custom, too; leave out one", code)
		}
	}
}

func keysOf(ipv6 bool) string {
	var keys []string
	for _, k := range OptionKeys {
		if len(k.Codes(ipv6)) > 0 {
			keys = append(keys, k.Key)
		}
	}
	return strings.Join(keys, ", ")
}

// The options that are the server's own or a client's, and what to use in their
// place.
var (
	serverCodes4 = map[int]string{
		0: "it is padding", 1: "it follows from the subnet's address", 12: "use reservations[].hostname",
		28: "it follows from the subnet's address", 50: "clients send it", 51: "use leaseTime", 52: "the server sends it where it is needed",
		53: "it is the kind of message", 54: "it is the subnet's address", 55: "clients send it", 56: "the server sends it where it refuses",
		57: "clients send it", 58: "use renewTime", 59: "use rebindTime", 61: "it is the client's own, sent back to it",
		81: "use dns.domain and reservations[].hostname", 82: "relay agents send it", 255: "it is the end of options",
	}
	serverCodes6 = map[int]string{
		1: "it is the client's own", 2: "it is the server's DUID", 3: "it is an address of a guest", 4: "it is an address of a guest",
		5: "it is an address of a guest", 6: "clients send it", 7: "the server is the link's only one", 8: "clients send it",
		9: "relay agents send it", 11: "it is for authentication, which the server does not do", 12: "the server has no unicast address for it",
		13: "it is a status", 14: "the server sends it to those that ask for it", 15: "clients send it", 18: "relay agents send it",
		19: "the server starts no reconfiguration", 20: "the server starts no reconfiguration", 25: "prefixes are not delegated",
		26: "prefixes are not delegated", 39: "use dns.domain and reservations[].hostname",
	}
)

// CustomCodeProblem says why an option cannot be given by its number, and what to
// use in its place, or "".
func CustomCodeProblem(code int, ipv6 bool) string {
	last, codes := 254, serverCodes4
	if ipv6 {
		last, codes = 65535, serverCodes6
	}
	if hint, ok := codes[code]; ok {
		return fmt.Sprintf("%d is the server's to send: %s", code, hint)
	}
	if code < 1 || code > last {
		return fmt.Sprintf("%d is outside 1 to %d", code, last)
	}
	for _, k := range OptionKeys {
		if slices.Contains(k.Codes(ipv6), code) {
			return fmt.Sprintf("%d has a key of its own: use %s", code, k.Key)
		}
	}
	return ""
}
