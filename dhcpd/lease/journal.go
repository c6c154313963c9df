package lease

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/internal/owner"
)

const (
	journalMagic  = "vnetd leases 2 journal\n"
	snapshotMagic = "vnetd leases 2 snapshot\n"

	frameHeader  = markerLen + 8          // marker, length, CRC-32C of length and payload
	frameStart   = frameHeader + stampLen // and what each payload begins with
	stampLen     = 16 + 8 + 8             // boot, CLOCK_MONOTONIC, wall clock
	frameHeader1 = 8                      // version 1: length, CRC-32C
	maxFrame     = 16 << 20               // more than the longest queue makes

	// room is how much of a journal is written ahead, as zeros. A frame that
	// takes their place makes the file no longer, so that its sync has nothing
	// of the file system's to write: half the time, or better.
	room = 512 << 10
)

var zeros [room]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A marker begins every frame of a file: random octets, so that nothing a
// client sends can be mistaken for a frame when the file is damaged.
type marker [markerLen]byte

const markerLen = 8

// header returns a file's first octets and its marker, which they have twice,
// so that damage to one is noticed and does no harm.
func header(magic string) ([]byte, marker) {
	var m marker
	_, _ = rand.Read(m[:]) // never fails
	m[0] |= 1              // not what is written ahead
	return append(append([]byte(magic), m[:]...), m[:]...), m
}

// sealFrame fills in the header and the stamp at the start of b.
func sealFrame(b []byte, m marker, s stamp) {
	copy(b, m[:])
	h, p := b[markerLen:], b[frameHeader:]
	binary.BigEndian.PutUint32(h, uint32(len(p)))
	clear(p[:16])
	_, _ = hex.Decode(p[:16], []byte(s.boot))
	binary.BigEndian.PutUint64(p[16:], uint64(s.mono.Milliseconds()))
	binary.BigEndian.PutUint64(p[24:], uint64(s.wall.Milliseconds()))
	binary.BigEndian.PutUint32(h[4:], frameSum(h))
}

// frameSum covers the length, so that a run of zeros is not an empty frame.
func frameSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[frameHeader1:])
}

// sum returns the payload at the start of b, behind its length and its sum, or nil.
func sum(b []byte) []byte {
	if len(b) <= frameHeader1 {
		return nil
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || n > maxFrame || int64(n) > int64(len(b)-frameHeader1) {
		return nil
	}
	b = b[:frameHeader1+int(n)]
	if frameSum(b) != binary.BigEndian.Uint32(b[4:]) {
		return nil
	}
	return b[frameHeader1:]
}

// A file is the contents of a journal or of a snapshot.
type file struct {
	data    []byte
	version int
	marker  marker // of version 2
	at      int    // where frames begin, and then where the next one does
	good    int    // the end of the last intact frame
	damage  error  // the first that was found; there may be intact frames behind it
}

// openFile reads the header of a file. Frames are searched for behind a damaged one, too. A
// file shorter than a header was not written completely.
func openFile(data []byte, magic string) file {
	f := file{data: data, version: 2}
	old := strings.Replace(magic, " 2 ", " 1 ", 1)
	end := len(magic) + 2*markerLen
	switch {
	case bytes.HasPrefix(data, []byte(old)):
		f.version, f.at, f.good = 1, len(old), len(old)
		return f
	case len(data) < end:
		if n := min(len(data), len(magic)); string(data[:n]) != magic[:n] && string(data[:n]) != old[:min(n, len(old))] {
			f.damage = errors.New("not a lease file")
		}
		f.at = len(data)
		return f
	}
	one, two := marker(data[len(magic):]), marker(data[len(magic)+markerLen:])
	f.marker, f.at, f.good = one, end, end
	if !bytes.HasPrefix(data[end:], one[:]) && bytes.HasPrefix(data[end:], two[:]) {
		f.marker = two
	}
	if string(data[:len(magic)]) == magic && one == two {
		return f
	}
	f.damage = errors.New("damaged in its header")
	switch {
	case string(data[:len(magic)]) == magic || one == two && one != marker{}:
	case sum(data[len(old):]) != nil:
		f.version, f.at, f.good = 1, len(old), len(old)
	default:
		f.damage, f.at, f.good = errors.New("not a lease file"), len(data), 0
	}
	return f
}

// next returns the stamp and the records of the next intact frame; false if
// there is none. Octets that are skipped are damage.
func (f *file) next() (s stamp, recs []byte, ok bool) {
	for at := f.at; at < len(f.data); {
		p, size := f.frame(at)
		if p == nil {
			if at = f.seek(at); at < 0 {
				break
			}
			continue
		}
		if at > f.at {
			f.damaged("damaged at offset %d, with readable records from offset %d on", f.at, at)
		}
		f.at = at + size
		f.good = f.at
		if f.version == 1 {
			return stamp{}, p, true
		}
		if [16]byte(p) != [16]byte{} {
			s.boot = hex.EncodeToString(p[:16])
		}
		s.mono = time.Duration(int64(binary.BigEndian.Uint64(p[16:]))) * time.Millisecond
		s.wall = time.Duration(int64(binary.BigEndian.Uint64(p[24:]))) * time.Millisecond
		return s, p[stampLen:], true
	}
	return s, nil, false
}

// frame returns the payload of the frame at an offset, and the frame's size.
func (f *file) frame(at int) (payload []byte, size int) {
	b := f.data[at:]
	if f.version == 1 {
		p := sum(b)
		return p, frameHeader1 + len(p)
	}
	if !bytes.HasPrefix(b, f.marker[:]) {
		return nil, 0
	}
	if p := sum(b[markerLen:]); len(p) >= stampLen {
		return p, frameHeader + len(p)
	}
	return nil, 0
}

// seek returns where there may be a frame behind a damaged one at an offset, or
// -1. Files of version 1 have no markers: any octets in a frame may be what a
// client sent, so that only the place where the next frame should be counts.
func (f *file) seek(at int) int {
	if f.version == 1 {
		if len(f.data)-at < frameHeader1 {
			return -1
		}
		n := int64(binary.BigEndian.Uint32(f.data[at:]))
		if at = at + frameHeader1 + int(min(n, maxFrame)); n == 0 || n > maxFrame || at >= len(f.data) {
			return -1
		}
		return at
	}
	if i := bytes.Index(f.data[at+1:], f.marker[:]); i >= 0 {
		return at + 1 + i
	}
	return -1
}

func (f *file) damaged(format string, args ...any) {
	if f.damage == nil {
		f.damage = fmt.Errorf(format, args...)
	}
}

// journal is the open file. Only one goroutine may use it.
type journal struct {
	f      *os.File // nil: none could be opened
	marker marker
	size   int64 // up to the end of the last frame on stable storage
	ahead  int64 // up to where there are zeros; not below size

	// suspect: the contents of the file are unknown or of no use, because it could not be
	// read, the kernel reported a failed sync (it may have dropped the pages), or
	// truncation failed. The journal must be written again from memory.
	suspect bool
}

// createJournal begins dir/journal.
func createJournal(dir string) (*journal, error) {
	head, m := header(journalMagic)
	if err := writeFile(dir, "journal", head); err != nil {
		return nil, err
	}
	return openJournal(dir, m, int64(len(head)))
}

// openJournal opens dir/journal for appending, first cutting it to size.
func openJournal(dir string, m marker, size int64) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, "journal"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Sync()); err != nil {
		f.Close()
		return nil, err
	}
	return &journal{f: f, marker: m, size: size, ahead: size}, nil
}

var errRemoved = errors.New("the file was removed")

// append seals and writes one frame, and waits until it is on stable storage.
// After an error the file ends with the frame before.
func (j *journal) append(b []byte, s stamp) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(j.f.Fd()), &st); err == nil && st.Nlink == 0 {
		j.suspect = true
		return &fs.PathError{Op: "append", Path: j.f.Name(), Err: errRemoved}
	}
	sealFrame(b, j.marker, s)
	if j.size+int64(len(b)) > j.ahead {
		// A disk without room for the zeros may still have some for the frame.
		wrote, _ := j.f.WriteAt(zeros[:], j.ahead)
		j.ahead += int64(wrote)
	}
	if _, err := j.f.WriteAt(b, j.size); err != nil {
		j.suspect = j.f.Truncate(j.size) != nil
		j.ahead = j.size
		return err
	}
	sync := error(unix.EINTR)
	for sync == unix.EINTR {
		sync = unix.Fdatasync(int(j.f.Fd())) // the data and the length, not the times
	}
	if sync != nil {
		j.suspect = true
		return &fs.PathError{Op: "fdatasync", Path: j.f.Name(), Err: sync}
	}
	j.size += int64(len(b))
	j.ahead = max(j.ahead, j.size)
	return nil
}

// close truncates what was written ahead.
func (j *journal) close() error {
	if j.f == nil {
		return nil
	}
	if !j.suspect && j.ahead > j.size {
		_ = j.f.Truncate(j.size) // zeros do no harm
	}
	return j.f.Close()
}

// syncDir makes renames and new files in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writeFile replaces dir/name by data atomically and durably.
func writeFile(dir, name string, data []byte) error {
	temp := filepath.Join(dir, name+".new")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close(), owner.Inherit(temp)); err != nil {
		os.Remove(temp) // give the space back
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}
