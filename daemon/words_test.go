package daemon_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// bannedWords has the words that vnetd does not use in help, logs, errors, metrics,
// documents and comments, and what to write instead.
var bannedWords = []struct{ word, instead string }{
	{`no` + `body('s)?`, "name the object: no client, no program, no other network"},
	{`some` + `body('s)?`, "name the object: another program, a guest, a user"},
	{`who` + `(se|m|ever)`, "name the object: the guest, the port, the lease, and its ..."},
	{`says?` + ` whether`, "reports whether"},
	{`is in` + ` the contract`, "name the message or field"},
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

// oldName matches a row of the table of old names.
var oldName = regexp.MustCompile(`^\| (term|log|error|event|metric|nftables) \|`)

// theUser matches where a document names the user of the lowest rights.
var theUser = regexp.MustCompile(`(users: \[|=|--owner )no` + `body`)

// TestWords reads production code (comments, and strings with a space, which are
// messages), proto files, units, scripts and documents.
func TestWords(t *testing.T) {
	patterns := map[*regexp.Regexp]string{}
	for _, b := range bannedWords {
		patterns[regexp.MustCompile(`(?i)\b(`+b.word+`)\b`)] = b.instead
	}
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
			text = strings.ReplaceAll(text, "su no"+"body", "") // the user of that name
			for pattern, instead := range patterns {
				word := pattern.FindString(text)
				if word == "" {
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
			if oldName.MatchString(line) || theUser.MatchString(line) {
				continue // the change log's old names, and the user of that name
			}
			lines[i+1] = line
		}
	}
	return lines
}
