package daemon_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vnetd/vnetd/"

// mayImport says which packages of ours a folder's packages may import,
// besides those of the same folder; the longest folder that fits counts.
var mayImport = []struct {
	folder string
	others []string
	why    string
}{
	{"netdrv", nil, "it is what every test starts from"},
	{"netdrv/kernel", []string{"netdrv"}, "it moves links and has no opinion"},
	{"netdrv/nettest", nil, "any package's tests may stand on it"},
	{"netdrv/kerneltest", []string{"netdrv"}, "it is the kernel that drivers are tested against"},
	{"firewall", []string{"netdrv"}, "rules are pure"},
	{"firewall/nft", []string{"firewall", "netdrv"}, "it runs rules, and does not know what else there is"},
	{"internal/batchio", nil, "packet loops use it"},
	{"internal/sockfilter", nil, "servers with sockets use it"},
	{"internal/hostclock", nil, "what outlives a restart uses it"},
	{"internal/limit", nil, "whatever guests reach uses it"},
	{"internal/owner", nil, "whatever writes state uses it"},
	{"dhcpd", []string{"internal/batchio", "internal/hostclock", "internal/limit", "internal/owner", "internal/sockfilter"}, "it could be lifted out as a library"},
	{"dnsd", []string{"internal/batchio", "internal/limit", "internal/sockfilter"}, "it could be lifted out as a library"},
	{"proxy", []string{"internal/limit"}, "it could be lifted out as a library"},
	{"api", nil, "other programs import it"},
	{"daemon", []string{"api", "netdrv", "firewall", "dhcpd", "dnsd", "proxy", "internal/hostclock", "internal/limit", "internal/owner"}, "main builds a daemon, the daemon its parts"},
	{"daemon/event", []string{"netdrv", "dhcpd/lease"}, "events are the domain's, and every protocol translates them"},
	{"daemon/journal", nil, "it formats log messages"},
	{"daemon/peer", nil, "it knows sockets only"},
	{"daemon/wire", []string{"api", "netdrv"}, "it translates the contract"},
	{"daemon/store", []string{"api/definition", "api/vnet/v1", "daemon/wire", "netdrv", "internal/hostclock", "internal/owner"}, "files are definitions, in the contract's form"},
	{"daemon/reconcile", []string{"daemon/event", "daemon/store", "netdrv", "firewall", "dhcpd", "dnsd", "proxy", "internal/limit"}, "it is below the service, and knows no protocol"},
	{"daemon/service", []string{"daemon/event", "daemon/store", "daemon/reconcile", "netdrv", "dhcpd", "dnsd/zone", "internal/limit"}, "use cases are in domain types, for every protocol"},
	{"daemon/rpc", []string{"api/definition", "api/vnet/v1", "daemon/event", "daemon/peer", "daemon/service", "daemon/wire", "dhcpd/lease", "dnsd/zone", "netdrv", "internal/limit"}, "it translates, and calls the service"},
	{"daemon/tapbroker", []string{"api/tapbroker", "daemon/peer", "daemon/service", "netdrv", "internal/limit"}, "it authorizes, and calls the service"},
	{"daemon/metrics", []string{"daemon/event", "daemon/service", "netdrv", "dhcpd", "dnsd", "internal/limit"}, "it prints what the service and the servers count"},
	{"cmd/vnetd", []string{"daemon"}, "main builds a daemon, the daemon its parts"},
	{"cmd/vnetctl", []string{"api"}, "if the command line needs it, the contract lacks it"},
	{"cmd/vnet-bridge-helper", []string{"api"}, "it is run by users, and needs the tap broker only"},
}

// testsMayImport has what tests of a folder may import besides.
var testsMayImport = map[string][]string{
	"daemon/reconcile": {"api", "daemon/wire"}, // to time the checks of a definition from its text on
}

// onlyIn says where packages of others may be used by what we ship.
var onlyIn = map[string][]string{
	"github.com/vishvananda/netlink":  {"netdrv/kernel", "netdrv/nettest", "dhcpd", "dnsd"}, // servers look up their link
	"github.com/google/nftables":      {"firewall/nft", "dnsd"},                             // dnsd blocks top talkers
	"github.com/insomniacslk/dhcp":    {},                                                   // tests only: the codec is ours
	"github.com/mdlayher/ndp":         {"dhcpd/ra"},
	"github.com/miekg/dns":            {"dnsd"},
	"google.golang.org/grpc":          {"api", "daemon/rpc"},
	"github.com/coreos/go-systemd":    {"daemon"},
	"github.com/rogpeppe/go-internal": {},
	"os/exec":                         {"cmd/vnetctl", "netdrv/nettest"}, // vnetctl edit, and run
}

// It reads the files itself, so that `go test` knows what its answer depends
// on and does not repeat a cached one.
func TestImports(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && (e.Name() == "testdata" || e.Name() == "tools" || e.Name() == ".git") {
			return skip(err)
		}
		rel, _ := filepath.Rel("..", path)
		if !strings.HasSuffix(rel, ".go") || strings.HasPrefix(rel, "internal_tmp") {
			return nil
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			checkImport(t, filepath.ToSlash(rel), strings.Trim(imp.Path.Value, `"`))
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("read %d files: %v", files, err)
	}
}

func skip(err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}

func checkImport(t *testing.T, file, path string) {
	test := strings.HasSuffix(file, "_test.go")
	if ours, ok := strings.CutPrefix(path, module); ok {
		if test && (within(ours, "netdrv/nettest") || within(ours, "netdrv/kerneltest")) {
			return
		}
		r := mayImport[0]
		for _, candidate := range mayImport {
			if within(file, candidate.folder) && (!within(file, r.folder) || len(candidate.folder) > len(r.folder)) {
				r = candidate
			}
		}
		others := slices.Clone(r.others)
		if test {
			others = append(others, testsMayImport[r.folder]...)
		}
		for _, allowed := range append(others, r.folder) {
			if within(ours, allowed) {
				return
			}
		}
		t.Errorf("%s imports %s: %s must not, because %s", file, ours, r.folder, r.why)
		return
	}
	for foreign, places := range onlyIn {
		if test || !within(path, foreign) {
			continue
		}
		if !anyWithin(file, places) {
			t.Errorf("%s imports %s, which belongs into %v", file, path, places)
		}
	}
}

func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func anyWithin(path string, folders []string) bool {
	for _, f := range folders {
		if within(path, f) {
			return true
		}
	}
	return false
}

func TestGoModReplacesNothing(t *testing.T) {
	b, err := os.ReadFile("../go.mod")
	if err != nil || strings.Contains(string(b), "\nreplace") {
		t.Errorf("go.mod has a replace (%v): what is built here is to be what everybody builds", err)
	}
}
