package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxInclude limits the depth of included files.
const maxInclude = 16

// checkACL returns an error unless a file in the format of qemu-bridge-helper,
// /etc/qemu/bridge.conf, allows a bridge. Its lines are "allow BRIDGE", "deny BRIDGE" and
// "include FILE", and "all" is any bridge. The default is to deny, and deny takes
// precedence over allow. This check only adds restrictions: the tap broker authorizes
// the user in any case.
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

// verdict is the result of the lines that are read.
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
		return errors.New("expected allow, deny or include, and one argument")
	}
	matches := words[1] == "all" || words[1] == bridge
	switch words[0] {
	case "allow":
		v.allowed = v.allowed || matches
	case "deny":
		v.denied = v.denied || matches
	case "include":
		file := words[1]
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		more, err := readACL(file, bridge, depth+1)
		v.allowed, v.denied = v.allowed || more.allowed, v.denied || more.denied
		return err
	default:
		return fmt.Errorf("unknown keyword %q; supported: allow, deny, include", words[0])
	}
	return nil
}
