package daemon_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// bannedWords has the words that vnetd does not use in help, logs, errors, metrics,
// documents and comments, and what to write instead.
var bannedWords = []struct{ word, instead string }{
	{`nobody('s)?`, "name the object: no client, no program, no other network"},
	{`somebody('s)?`, "name the object: another program, a guest, a user"},
	{`whose|whom|whoever`, "name the object: the guest, the port, the lease, and its ..."},
	{`says? whether`, "reports whether"},
	{`is in the contract`, "name the message or field"},
	{`tap ?doors?`, "tap broker"},
	{`mended|mends`, "repaired"},
	{`flooders?`, "top talker, client over the rate limit"},
	{`unheard|overhear[sd]?|deafen(s|ed)?|deafest`, "dropped, blocked"},
	{`taken? back by itself|takes? it back`, "rolled back"},
	{`gone with the boot`, "volatile"},
	{`anew`, "again"},
	{`onTrial|on trial`, "pending confirmation"},
	{`as good as being root`, "root-equivalent"},
	{`is kept to|are kept to`, "limited to"},
	{`what is left out`, "absent fields"},
}

// notYetClean has the files and folders that still use banned words. It only shrinks.
var notYetClean = []string{
	"daemon/config.go",
	"daemon/metrics/metrics.go",
	"daemon/metrics/server.go",
	"daemon/peer/groups.go",
	"daemon/reconcile/plan.go",
	"daemon/reconcile/ports.go",
	"daemon/reconcile/rules.go",
	"daemon/rpc/effect.go",
	"daemon/service/port.go",
	"daemon/sockets.go",
	"daemon/store/file.go",
	"daemon/store/members.go",
	"daemon/store/port.go",
	"daemon/store/store.go",
	"daemon/store/trial.go",
	"dhcpd/frame.go",
	"dhcpd/frame6.go",
	"dhcpd/link.go",
	"dhcpd/pool/choose.go",
	"dhcpd/pool/client.go",
	"dhcpd/ra/doc.go",
	"dhcpd/v4/message.go",
	"netdrv/access.go",
	"netdrv/bandwidth.go",
	"netdrv/diff.go",
	"netdrv/fdb.go",
	"netdrv/filter.go",
	"netdrv/forward.go",
	"netdrv/kernel/class.go",
	"netdrv/kernel/fdb.go",
	"netdrv/kernel/kernel.go",
	"netdrv/kernel/neighbours.go",
	"netdrv/kernel/observe.go",
	"netdrv/kernel/ownlinks.go",
	"netdrv/kernel/tap.go",
	"netdrv/kernel/traffic.go",
	"netdrv/kernel/uplinkread.go",
	"netdrv/member.go",
	"netdrv/network.go",
	"netdrv/options.go",
	"netdrv/port.go",
	"netdrv/published.go",
	"netdrv/resolver.go",
	"netdrv/state.go",
	"netdrv/uplinkbridge.go",
	"netdrv/validate_boot.go",
	"netdrv/validate_filter.go",
	"netdrv/validate_forward.go",
	"netdrv/validate_names.go",
	"netdrv/validate_relayed.go",
}

// TestWords reads production code (comments, and strings with a space, which are
// messages), proto files, units, scripts and documents.
func TestWords(t *testing.T) {
	patterns := map[*regexp.Regexp]string{}
	for _, b := range bannedWords {
		patterns[regexp.MustCompile(`(?i)\b(`+b.word+`)\b`)] = b.instead
	}
	unused := slices.Clone(notYetClean)
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../")
		switch {
		case e.IsDir() && (name == "testdata" || name == "bin" || strings.HasPrefix(e.Name(), ".") && path != ".."):
			return filepath.SkipDir
		case e.IsDir():
			return nil
		}
		for line, text := range proseOf(t, path) {
			text = strings.ReplaceAll(text, "su nobody", "") // the user of that name
			for pattern, instead := range patterns {
				word := pattern.FindString(text)
				if word == "" {
					continue
				}
				if i := slices.IndexFunc(notYetClean, func(f string) bool { return f == name || strings.HasPrefix(name, f+"/") }); i >= 0 {
					unused = slices.DeleteFunc(unused, func(f string) bool { return f == notYetClean[i] })
					continue
				}
				t.Errorf("%s:%d: %q: write %s", name, line, word, instead)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range unused {
		t.Logf("%s is clean: remove it from notYetClean", f)
	}
}

// proseOf returns the lines of a file that are read by people.
func proseOf(t *testing.T, path string) map[int]string {
	lines := map[int]string{}
	base := filepath.Base(path)
	switch ext := filepath.Ext(path); {
	case strings.HasSuffix(path, "_test.go"), strings.HasSuffix(path, ".pb.go"), strings.Contains(path, "nettest/"):
	case ext == ".go":
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		add := func(at token.Pos, text string) {
			from := files.Position(at).Line
			for i, line := range strings.Split(text, "\n") {
				lines[from+i] += " " + line
			}
		}
		for _, group := range f.Comments {
			for _, c := range group.List {
				add(c.Pos(), c.Text)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING && strings.Contains(s.Value, " ") {
				add(s.Pos(), s.Value)
			}
			return true
		})
	case ext == ".md", ext == ".proto", ext == ".yaml", ext == ".sh", strings.HasPrefix(base, "vnetd.") || strings.HasPrefix(base, "vnetd-"), base == "Makefile":
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(b), "\n") {
			if strings.Contains(line, "| term |") || strings.Contains(line, "users: [nobody") || strings.Contains(line, "=nobody") || strings.Contains(line, "--owner nobody") {
				continue // the change log's old names, and the user of that name
			}
			lines[i+1] = line
		}
	}
	return lines
}
