package netdrv

import (
	"fmt"
	"strings"
)

// Finding is one thing wrong with a definition.
type Finding struct {
	// Path names the field as the file does: subnets[0].dhcp.ranges[1].
	Path string
	// Why says what is wrong, for the person who wrote it.
	Why string
}

func (f Finding) String() string {
	if f.Path == "" {
		return f.Why
	}
	return f.Path + ": " + f.Why
}

// Findings is everything wrong with a definition, in the order of its fields.
// A nil Findings means that nothing is wrong.
type Findings []Finding

// Error joins the findings with "; ".
func (fs Findings) Error() string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = f.String()
	}
	return strings.Join(out, "; ")
}

// Err returns fs as an error, or nil if there is none.
func (fs Findings) Err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}

// Add appends a finding.
func (fs *Findings) Add(path, format string, args ...any) {
	*fs = append(*fs, Finding{Path: path, Why: fmt.Sprintf(format, args...)})
}

// Join appends the findings about fields of which there is none yet.
func (fs Findings) Join(more Findings) Findings {
	has := map[string]bool{}
	for _, f := range fs {
		has[f.Path] = true
	}
	for _, f := range more {
		if !has[f.Path] {
			fs = append(fs, f)
		}
	}
	return fs
}

// Below returns the findings with their paths below a field.
func (fs Findings) Below(field string) Findings {
	var out Findings
	for _, f := range fs {
		out = append(out, Finding{Path: field + f.Path, Why: f.Why})
	}
	return out
}
