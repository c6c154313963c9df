package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestACL(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"br0.conf":   "# a comment\n\nallow br0 # and another\n",
		"all.conf":   "allow all\ndeny br1\n",
		"late.conf":  "deny br0\nallow br0\n",
		"incl.conf":  "include br0.conf\n",
		"loop.conf":  "include loop.conf\n",
		"empty.conf": "",
		"bad.conf":   "allow br0\npermit br1\n",
		"words.conf": "allow br0 br1\n",
		"none.conf":  "deny all\nallow br0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ file, bridge, want string }{
		{"br0.conf", "br0", ""},
		{"br0.conf", "br1", "does not allow bridge br1"},
		{"all.conf", "br0", ""},
		{"all.conf", "br1", "denies bridge br1"},
		{"late.conf", "br0", "denies"},
		{"none.conf", "br0", "denies"},
		{"incl.conf", "br0", ""},
		{"loop.conf", "br0", "include each other"},
		{"empty.conf", "br0", "does not allow"},
		{"bad.conf", "br0", `bad.conf:2: unknown keyword "permit"`},
		{"words.conf", "br0", "words.conf:1"},
		{"missing.conf", "br0", "no such file"},
	} {
		err := checkACL(filepath.Join(dir, c.file), c.bridge)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s about %s: got %v, want %q", c.file, c.bridge, err, c.want)
		}
	}
}

// QEMU passes --br=NAME; users write it as two arguments.
func TestOptions(t *testing.T) {
	for _, args := range []string{"--use-vnet --fd=7 --br=virbr0", "--br virbr0 --fd 7 --use-vnet"} {
		o, err := parse(strings.Fields(args))
		if want := (options{vnet: true, bridge: "virbr0", fd: 7}); err != nil || o != want {
			t.Errorf("%s: got %+v, %v", args, o, err)
		}
	}
	for _, args := range []string{"--fd=7", "--br=virbr0", "--br=virbr0 --fd=x", "--br=virbr0 --fd=7 more", "--bridge=virbr0"} {
		if _, err := parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), "usage") {
			t.Errorf("%s: got %v, want the usage", args, err)
		}
	}
}
