package netdrv

import (
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// A file's name has to fit into a DHCP message of 576 octets beside the rest.
const longestBootFile = 200

func validateBoot(fs *Findings, at string, b *Boot, subnet netip.Prefix) {
	if b.Root == "" && len(b.Files) == 0 {
		fs.Add(at, "has neither root nor files: say what guests are to boot")
	}
	validateBootRoot(fs, at, b)
	switch s := b.Server; {
	case !s.IsValid():
	case s.Is4() != subnet.Addr().Is4():
		fs.Add(at+".server", "%s is not of the subnet's family", s)
	case s.IsUnspecified() || s.IsMulticast() || s.IsLoopback():
		fs.Add(at+".server", "%s cannot be a server's address", s)
	}
	seen := map[bootKind]int{}
	for i, f := range b.Files {
		file := index(at+".files", i)
		if why := bootFileProblem(f.File); why != "" {
			fs.Add(file+".file", "%s", why)
		}
		if len(f.Params) > 0 && subnet.Addr().Is4() {
			fs.Add(file+".params", "are for IPv6; in IPv4 there is no such option")
		}
		kind := bootKind{f.Arch, f.IPXE}
		if j, twice := seen[kind]; twice {
			fs.Add(file, "is for the same clients as files[%d], which wins; leave one out", j)
			continue
		}
		seen[kind] = i
	}
}

// bootKind is who a file is for.
type bootKind struct {
	arch BootArch
	ipxe bool
}

func validateBootRoot(fs *Findings, at string, b *Boot) {
	switch {
	case b.Root == "":
		if b.HTTPPort != 0 && !b.Server.IsValid() {
			fs.Add(at+".httpPort", "is for what is served from root, or of server; give one of the two")
		}
	case !path.IsAbs(b.Root) || path.Clean(b.Root) != b.Root:
		fs.Add(at+".root", "%q is not the plain path of a directory from the root of the file system, such as /srv/boot", b.Root)
	case b.Root == "/":
		fs.Add(at+".root", "would show the whole host to its guests; use a directory for it, such as /srv/boot")
	}
}

// bootFileProblem returns why no guest could boot a file, or "".
func bootFileProblem(file string) string {
	switch {
	case file == "":
		return "is missing"
	case len(file) > longestBootFile:
		return "is longer than the 200 octets for which every client has room"
	case strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r > '~' }):
		return "has other than printable ASCII characters, which ROMs do not know"
	case !strings.Contains(file, "://"):
		if file == ".." || strings.HasPrefix(path.Clean(strings.TrimPrefix(file, "/")), "../") {
			return "\"" + file + "\" leads out of the root"
		}
		return ""
	}
	if u, err := url.Parse(file); err != nil || u.Host == "" {
		return "\"" + file + "\" is neither a path nor a URL such as http://10.20.0.1/boot.ipxe"
	}
	return ""
}

func validateGuestBoot(fs *Findings, at string, r Reservation, b *Boot) {
	if r.BootFile == "" {
		return
	}
	if why := bootFileProblem(r.BootFile); why != "" {
		fs.Add(at+".file", "%s", why)
	}
	if b == nil {
		fs.Add(at, "needs dhcp.boot, which says where files are: add boot: {root: ...} or boot: {server: ..., files: [...]}")
	}
}
