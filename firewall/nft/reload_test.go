package nft

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv/nettest"
)

// sidNFT is nft of Debian sid, as dist/deps.sh unpacks it; absent is where that says
// that the mirror did not have it.
const (
	sidNFT    = "/var/cache/vnetd-test/nft-sid/nft"
	sidAbsent = "/var/cache/vnetd-test/nft-sid/absent"
)

// What nft lists of every ruleset can be loaded again, by Debian's nft and by sid's: an
// administrator who keeps the listing in /etc/nftables.conf boots with a firewall. nft
// 1.0.6 reads no map to chains as JSON, as it lists chains behind maps and adds them in
// that order, nor a set with an expression as key: its JSON is not tried.
func TestListingLoadsAgain(t *testing.T) {
	for version, nft := range map[string]string{"Debian 12": "nft", "sid": sidNFT} {
		t.Run(version, func(t *testing.T) {
			formats := []string{"-n"} // which changes nothing of what is loaded
			if nft == sidNFT {
				formats = append(formats, "-j")
			}
			if _, err := os.Stat(sidAbsent); err == nil && nft == sidNFT {
				t.Skip("make deps could not get nft of Debian sid from the mirror: listings were not loaded with it")
			}
			if nft == sidNFT {
				nettest.NeedFile(t, nft, "nftables (of sid; make deps unpacks it)")
			}
			for name, networks := range goldens {
				ns, empty := newNamespace(t), newNamespace(t)
				must(t, ns.open(t).Apply(t.Context(), firewall.Compile(networks, guests(name)...)))
				for _, format := range formats {
					file := filepath.Join(t.TempDir(), "ruleset")
					must(t, os.WriteFile(file, []byte(ns.run(t, nft, format, "list", "ruleset")), 0o600))
					if out, err := empty.try(nft, format, "-c", "-f", file); err != nil {
						t.Errorf("nft %s, ruleset %s: %v\n%.1000s", format, name, err, out)
					}
				}
			}
		})
	}
}
