package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxInclude is how deep files may include each other.
const maxInclude = 16

// checkACL asks a file of qemu-bridge-helper's, /etc/qemu/bridge.conf, about a bridge.
// Its lines are "allow BRIDGE", "deny BRIDGE" and "include FILE", and "all" is any
// bridge. Who is not allowed is denied, and a deny beats every allow. It is the user's
// own check on himself: the tap broker judges whatever this says.
func checkACL(path, bridge string) error {
	v, err := readACL(path, bridge, 0)
	switch {
	case err != nil:
		return err
	case v.denied:
		return fmt.Errorf("%s denies bridge %s", path, bridge)
	case !v.allowed:
		return fmt.Errorf("%s does not allow bridge %s", path, bridge)
	}
	return nil
}

// verdict is what the lines say so far.
type verdict struct{ allowed, denied bool }

func readACL(path, bridge string, depth int) (v verdict, err error) {
	if depth > maxInclude {
		return v, fmt.Errorf("%s: files include each other", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return v, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for line := 1; s.Scan(); line++ {
		text, _, _ := strings.Cut(s.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if err := v.rule(words, path, bridge, depth); err != nil {
			return v, fmt.Errorf("%s:%d: %w", path, line, err)
		}
	}
	return v, s.Err()
}

func (v *verdict) rule(words []string, path, bridge string, depth int) error {
	if len(words) != 2 {
		return errors.New("a rule is allow, deny or include, and one word")
	}
	meant := words[1] == "all" || words[1] == bridge
	switch words[0] {
	case "allow":
		v.allowed = v.allowed || meant
	case "deny":
		v.denied = v.denied || meant
	case "include":
		file := words[1]
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		more, err := readACL(file, bridge, depth+1)
		v.allowed, v.denied = v.allowed || more.allowed, v.denied || more.denied
		return err
	default:
		return fmt.Errorf("%q is not allow, deny or include", words[0])
	}
	return nil
}
