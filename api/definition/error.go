package definition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Finding is one thing wrong with a file.
type Finding struct {
	File   string // as given to Parse; empty if the text came from no file
	Line   int    // from 1; 0 if unknown
	Column int    // from 1, in characters; 0 if unknown
	Path   string // such as subnets[0].dhcp.leaseTime; empty for the whole document
	Why    string // what is wrong
	Hint   string // what to write instead; may be empty
}

// String is one line: lab.yaml:3:5: subnets[0].dhpc: unknown key: did you mean dhcp?
func (f Finding) String() string {
	var parts []string
	if where := f.where(); where != "" {
		parts = append(parts, where)
	}
	if f.Path != "" {
		parts = append(parts, f.Path)
	}
	parts = append(parts, f.Why)
	if f.Hint != "" {
		parts = append(parts, f.Hint)
	}
	return strings.Join(parts, ": ")
}

func (f Finding) where() string {
	where := f.File
	for _, n := range []int{f.Line, f.Column} {
		if n == 0 {
			break
		}
		where = strings.TrimPrefix(fmt.Sprintf("%s:%d", where, n), ":")
	}
	if f.File == "" && where != "" {
		return "line " + where
	}
	return where
}

// Error is everything that is wrong with a file, in the order of its lines. It
// has at least one finding, and at most a hundred.
type Error struct {
	Findings []Finding
}

// Error has a line for each finding.
func (e *Error) Error() string {
	lines := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// maxFindings bounds what a hostile or hopeless file makes us say.
const maxFindings = 100

func asError(findings []Finding) error {
	if len(findings) == 0 {
		return nil
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(findings) > maxFindings {
		findings = findings[:maxFindings]
	}
	return &Error{Findings: findings}
}
