package nettest

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A Lease is what a client says it was given. Fields it says nothing of are
// zero.
type Lease struct {
	Address  netip.Prefix // with the prefix length of the subnet mask
	Gateway  netip.Addr   // the first router
	DNS      []netip.Addr
	Domain   string
	Hostname string
	MTU      int
	Time     time.Duration
	Server   netip.Addr

	Raw map[string]string // all the client's own variables
}

// keys are the names that a client has for what is in a lease.
type keys struct {
	address, mask, routers, dns, domain, hostname, mtu, time, server string
}

var (
	udhcpcKeys = keys{"ip", "subnet", "router", "dns", "domain", "hostname", "mtu", "lease", "serverid"}
	// dhclient's and dhcpcd's; the one is modelled on the other.
	scriptKeys = keys{
		"new_ip_address", "new_subnet_mask", "new_routers", "new_domain_name_servers", "new_domain_name",
		"new_host_name", "new_interface_mtu", "new_dhcp_lease_time", "new_dhcp_server_identifier",
	}
	networkdKeys = keys{
		"ADDRESS", "NETMASK", "ROUTER", "DNS", "DOMAINNAME",
		"HOSTNAME", "MTU", "LIFETIME", "SERVER_ADDRESS",
	}
)

// lease reads a lease from a client's variables.
func (k keys) lease(vars map[string]string) (Lease, error) {
	l := Lease{Domain: vars[k.domain], Hostname: vars[k.hostname], Raw: vars}
	addr, err := netip.ParseAddr(vars[k.address])
	if err != nil {
		return l, fmt.Errorf("address in the lease: %w", err)
	}
	mask := net.ParseIP(vars[k.mask]).To4()
	ones, bits := net.IPMask(mask).Size()
	if bits == 0 {
		return l, fmt.Errorf("mask in the lease: %q", vars[k.mask])
	}
	l.Address = netip.PrefixFrom(addr, ones)
	for word := range strings.FieldsSeq(vars[k.dns]) {
		server, err := netip.ParseAddr(word)
		if err != nil {
			return l, fmt.Errorf("name server in the lease: %w", err)
		}
		l.DNS = append(l.DNS, server)
	}
	if routers := strings.Fields(vars[k.routers]); len(routers) > 0 {
		if l.Gateway, err = netip.ParseAddr(routers[0]); err != nil {
			return l, fmt.Errorf("router in the lease: %w", err)
		}
	}
	l.Server, _ = netip.ParseAddr(vars[k.server])
	l.MTU, _ = strconv.Atoi(vars[k.mtu])
	seconds, err := strconv.ParseUint(vars[k.time], 10, 32)
	if err != nil {
		return l, fmt.Errorf("lease time: %w", err)
	}
	l.Time = time.Duration(seconds) * time.Second
	return l, nil
}

// A report is one run of a client's script: the event and its variables.
type report struct {
	event string
	vars  map[string]string
}

// reportScript is appended to a client's script and prints the report. Each
// line names its process, as others may print at the same time, and is one
// write. $event holds the event.
const reportScript = `
env | grep '^[a-z]' | while IFS= read -r line; do echo "@lease $$ $line"; done
echo "@lease $$ END $event"
`

// parseReports finds the complete reports in what a client printed.
func parseReports(text string) []report {
	var reports []report
	open := make(map[string]map[string]string) // by process
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, ours := strings.CutPrefix(strings.TrimRight(lines.Text(), "\r"), "@lease ")
		id, rest, ok := strings.Cut(rest, " ")
		if !ours || !ok {
			continue
		}
		if open[id] == nil {
			open[id] = make(map[string]string)
		}
		if event, end := strings.CutPrefix(rest, "END "); end {
			reports = append(reports, report{event, open[id]})
			delete(open, id)
			continue
		}
		if name, value, ok := strings.Cut(rest, "="); ok {
			open[id][name] = value
		}
	}
	return reports
}

// parseVariables reads NAME=VALUE lines, such as networkd's lease files.
func parseVariables(text string) map[string]string {
	vars := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars[name] = value
		}
	}
	return vars
}
