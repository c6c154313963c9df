package nettest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// An archive is an initramfs in the making: cpio in its "new ASCII" format, as
// the kernel's Documentation/driver-api/early-userspace/buffer-format.rst has
// it.
type archive struct {
	buf   bytes.Buffer
	inode int
	dirs  map[string]bool
}

const (
	modeDir  = 0o040755
	modeFile = 0o100755
)

// file adds a file and the directories above it. All are executable: a guest's
// root does not care.
func (a *archive) file(name string, content []byte) {
	a.above(name)
	a.entry(name, modeFile, content)
}

func (a *archive) above(name string) {
	dir := filepath.Dir(name)
	if dir == "." || a.dirs[dir] {
		return
	}
	a.above(dir)
	if a.dirs == nil {
		a.dirs = make(map[string]bool)
	}
	a.dirs[dir] = true
	a.entry(dir, modeDir, nil)
}

func (a *archive) entry(name string, mode int, content []byte) {
	a.inode++
	const links, major, minor = 1, 0, 0
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, links, 0, len(content), major, minor, major, minor, len(name)+1, 0)
	a.buf.WriteString(name + "\x00")
	a.align()
	a.buf.Write(content)
	a.align()
}

func (a *archive) align() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

// bytes ends the archive.
func (a *archive) bytes() []byte {
	a.entry("TRAILER!!!", 0, nil)
	return a.buf.Bytes()
}

// initramfs puts a guest together of the recipe, the kernel's modules, busybox
// and what the guest is to do.
func initramfs(recipe, kernel, hostname string, commands []string) ([]byte, error) {
	busybox, err := lookPath("busybox")
	if err != nil {
		return nil, err
	}
	var a archive
	for name, path := range map[string]string{
		"bin/busybox": busybox,
		"init":        filepath.Join(recipe, "init"),
		"modules":     filepath.Join(recipe, "modules"),
	} {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		a.file(name, content)
	}
	lease, err := os.ReadFile(filepath.Join(recipe, "lease"))
	if err != nil {
		return nil, err
	}
	a.file("lease", append(lease, reportScript...))
	a.file("hostname", []byte(hostname+"\n"))
	modules, err := filepath.Glob(filepath.Join(kernel, "*.ko"))
	if err != nil {
		return nil, err
	}
	for _, path := range modules {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		a.file("lib/"+filepath.Base(path), content)
	}
	for i, command := range commands {
		a.file("commands/"+strconv.Itoa(i), []byte(strings.TrimSpace(command)+"\n"))
	}
	return a.bytes(), nil
}
