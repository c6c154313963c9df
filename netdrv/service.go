package netdrv

import (
	"fmt"
	"strconv"
	"strings"
)

// serviceNames are the services that may be called by name. A name stands for
// all protocols that the service is spoken over.
var serviceNames = map[string][]Service{
	"ssh":        {{TCP, PortRange{22, 22}}},
	"http":       {{TCP, PortRange{80, 80}}},
	"https":      {{TCP, PortRange{443, 443}}, {UDP, PortRange{443, 443}}},
	"nfs":        {{TCP, PortRange{2049, 2049}}},
	"smb":        {{TCP, PortRange{445, 445}}},
	"ntp":        {{UDP, PortRange{123, 123}}},
	"tftp":       {{UDP, PortRange{69, 69}}},
	"iscsi":      {{TCP, PortRange{3260, 3260}}},
	"apt-cacher": {{TCP, PortRange{3142, 3142}}},
}

var protocolNames = words[Protocol]{TCP: "tcp", UDP: "udp", SCTP: "sctp"}

// String returns tcp, udp or sctp.
func (p Protocol) String() string { return protocolNames.of(p) }

// String says "tcp/22" or "udp/5000-5010".
func (s Service) String() string {
	if s.Ports.Start == s.Ports.End {
		return fmt.Sprintf("%s/%d", s.Protocol, s.Ports.Start)
	}
	return fmt.Sprintf("%s/%d-%d", s.Protocol, s.Ports.Start, s.Ports.End)
}

// ParseService reads a service's name, tcp/8080, or udp/5000-5010. A name may
// stand for more than one.
func ParseService(s string) ([]Service, error) {
	if known, ok := serviceNames[s]; ok {
		return known, nil
	}
	word, ports, ok := strings.Cut(s, "/")
	if !ok {
		return nil, fmt.Errorf("%q is not a service that is known by name; write it as tcp/8080 or udp/5000-5010", s)
	}
	protocol, ok := protocolNames.parse(word)
	if !ok {
		return nil, fmt.Errorf("%q is not tcp, udp or sctp", word)
	}
	r, err := parsePorts(ports)
	if err != nil {
		return nil, err
	}
	return []Service{{protocol, r}}, nil
}

func parsePorts(s string) (PortRange, error) {
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || a == 0 || b < a {
		return PortRange{}, fmt.Errorf("%q is not a port or a range of ports, such as 8080 or 5000-5010", s)
	}
	return PortRange{uint16(a), uint16(b)}, nil
}
