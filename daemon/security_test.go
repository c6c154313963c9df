package daemon_test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// limitRow is a row of a table of limits: what, number, unit, key, package and constant.
var limitRow = regexp.MustCompile("(?m)^\\|[^|]+\\| ([0-9]+)(?: ([a-zA-Z%]+))? \\|[^|]*\\| `([a-z0-9/]+)\\.([a-zA-Z0-9]+)` \\|$")

var units = map[string]float64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "%": 0.01, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9}

// The page about security says the numbers of the code.
func TestSecurityPageHasTheLimitsOfTheCode(t *testing.T) {
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := limitRow.FindAllStringSubmatch(string(page), -1)
	if lines := strings.Count(string(page), "` |\n"); len(rows) < 40 || len(rows) != lines {
		t.Errorf("%d rows were read, of %d that end with a constant", len(rows), lines)
	}
	packages := map[string]map[string]ast.Expr{}
	for _, row := range rows {
		folder, name := row[3], row[4]
		if packages[folder] == nil {
			packages[folder] = constants(t, folder)
		}
		number, _ := strconv.ParseFloat(row[1], 64)
		unit, known := units[row[2]]
		expr := packages[folder][name]
		if expr == nil || !known {
			t.Errorf("%s has no constant %s, or %q is no unit", folder, name, row[2])
			continue
		}
		got, _ := constant.Float64Val(constant.ToFloat(value(t, packages[folder], expr)))
		if want := number * unit; got < want*0.999 || got > want*1.001 {
			t.Errorf("%s.%s is %g, and the page says %s %s", folder, name, got, row[1], row[2])
		}
	}
}

// constants returns the expressions of a package's constants.
func constants(t *testing.T, folder string) map[string]ast.Expr {
	t.Helper()
	out := map[string]ast.Expr{}
	files, err := filepath.Glob(filepath.Join("..", folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i < len(v.Values) {
						out[name.Name] = v.Values[i]
					}
				}
			}
		}
	}
	return out
}

// value computes a constant; times are in nanoseconds.
func value(t *testing.T, known map[string]ast.Expr, e ast.Expr) constant.Value {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.ParenExpr:
		return value(t, known, e.X)
	case *ast.Ident:
		if of := known[e.Name]; of != nil {
			return value(t, known, of)
		}
	case *ast.SelectorExpr:
		for name, d := range map[string]int64{"Millisecond": 1e6, "Second": 1e9, "Minute": 60e9, "Hour": 3600e9} {
			if e.Sel.Name == name {
				return constant.MakeInt64(d)
			}
		}
	case *ast.BinaryExpr:
		x, y := value(t, known, e.X), value(t, known, e.Y)
		if e.Op == token.SHL {
			n, _ := constant.Uint64Val(y)
			return constant.Shift(x, e.Op, uint(n))
		}
		return constant.BinaryOp(x, e.Op, y)
	}
	t.Errorf("%T is no constant expression that this test knows", e)
	return constant.MakeInt64(0)
}
