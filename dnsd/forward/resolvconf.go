package forward

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Where name servers listen.
const (
	DefaultPort    = 53
	DefaultTLSPort = 853 // RFC 7858 §3.1
)

// maxServers of resolv.conf are used. The C library takes three.
const maxServers = 8

// ParseResolvConf returns the name servers of a resolv.conf(5). Lines that it
// does not know, and addresses that are none, are skipped, as the C library
// does.
func ParseResolvConf(text string) []netip.AddrPort {
	var servers []netip.AddrPort
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(servers) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(a.Unmap(), DefaultPort))
		}
	}
	return servers
}

const maxLinks = 16

// watchDirs returns the directories in which a change can make path another
// file: its own, and those of all symbolic links on the way. For one that does
// not exist yet it is the nearest that does.
func watchDirs(path string) []string {
	var dirs []string
	for range maxLinks {
		dir := filepath.Dir(path)
		dirs = append(dirs, existing(dir))
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return dirs
}

func existing(dir string) string {
	for {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
