package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	journalMagic  = "vnetd leases 1 journal\n"
	snapshotMagic = "vnetd leases 1 snapshot\n"

	frameHeader = 8        // length, CRC-32C of length and payload
	maxFrame    = 16 << 20 // more than the longest queue makes

	// room is how much of a journal is written ahead, as zeros. A frame that
	// takes their place makes the file no longer, so that its sync has nothing
	// of the file system's to write: half the time, or better.
	room = 512 << 10
)

var zeros [room]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealFrame fills in the header that was left free at the start of b.
func sealFrame(b []byte) {
	binary.BigEndian.PutUint32(b, uint32(len(b)-frameHeader))
	binary.BigEndian.PutUint32(b[4:], frameSum(b))
}

// frameSum covers the length, so that a run of zeros is not an empty frame.
func frameSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[frameHeader:])
}

// frame returns the payload of the frame at the start of b, or nil.
func frame(b []byte) []byte {
	if len(b) <= frameHeader {
		return nil
	}
	n := binary.BigEndian.Uint32(b)
	if n == 0 || n > maxFrame || int64(n) > int64(len(b)-frameHeader) {
		return nil
	}
	b = b[:frameHeader+int(n)]
	if frameSum(b) != binary.BigEndian.Uint32(b[4:]) {
		return nil
	}
	return b[frameHeader:]
}

// replay calls yield with every record of a file's contents, and returns the
// length of what was good. What follows is a torn tail; a bad frame with a good
// one behind it is an error.
func replay(data []byte, magic string, yield func(record) error) (good int, err error) {
	if len(data) < len(magic) && magic[:len(data)] == string(data) {
		return 0, nil // torn while it was made
	}
	if len(data) < len(magic) || string(data[:len(magic)]) != magic {
		return 0, errors.New("not a lease file of this version")
	}
	good = len(magic)
	for good < len(data) {
		payload := frame(data[good:])
		if payload == nil {
			break
		}
		if err := records(payload, yield); err != nil {
			return good, fmt.Errorf("at offset %d: %w", good, err)
		}
		good += frameHeader + len(payload)
	}
	if at := nextFrame(data, good+1); at > 0 {
		return good, fmt.Errorf("damaged at offset %d, with readable records from offset %d on", good, at)
	}
	return good, nil
}

// nextFrame looks for a whole frame at any offset from at on. Zero: none.
func nextFrame(data []byte, at int) int {
	for ; at < len(data)-frameHeader; at++ {
		if kind := data[at+frameHeader]; kind < recBind || kind > recLast {
			continue
		}
		if frame(data[at:]) != nil {
			return at
		}
	}
	return 0
}

// journal is the open file. Only one goroutine may use it.
type journal struct {
	f     *os.File
	size  int64 // up to the end of the last frame on stable storage
	ahead int64 // up to where there are zeros; not below size

	// suspect: what the file holds is unknown, because the kernel
	// reported a failed sync (it may have dropped the pages) or cutting back
	// failed. The journal must be made anew from memory.
	suspect bool
}

// openJournal opens dir/journal for appending, first cutting it to size;
// it writes the header if size is 0.
func openJournal(dir string, size int64) (*journal, error) {
	f, err := os.OpenFile(filepath.Join(dir, "journal"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f, size: size}
	if err := j.prepare(dir); err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

func (j *journal) prepare(dir string) error {
	if err := j.f.Truncate(j.size); err != nil {
		return err
	}
	if j.size == 0 {
		if _, err := j.f.WriteAt([]byte(journalMagic), 0); err != nil {
			return err
		}
		j.size = int64(len(journalMagic))
	}
	j.ahead = j.size
	if err := j.f.Sync(); err != nil {
		return err
	}
	return syncDir(dir)
}

// append writes one sealed frame and waits until it is on stable storage.
// After an error the file ends with the frame before.
func (j *journal) append(b []byte) error {
	j.reserve(len(b))
	if _, err := j.f.WriteAt(b, j.size); err != nil {
		j.suspect = j.f.Truncate(j.size) != nil
		j.ahead = j.size
		return err
	}
	if err := datasync(j.f); err != nil {
		j.suspect = true
		return &fs.PathError{Op: "fdatasync", Path: j.f.Name(), Err: err}
	}
	j.size += int64(len(b))
	j.ahead = max(j.ahead, j.size)
	return nil
}

// reserve has zeros where n octets will be written. On a disk that has no room
// for them there may still be some for the octets.
func (j *journal) reserve(n int) {
	if j.size+int64(n) <= j.ahead {
		return
	}
	wrote, _ := j.f.WriteAt(zeros[:], j.ahead)
	j.ahead += int64(wrote)
}

// close gives back what was written ahead.
func (j *journal) close() error {
	if !j.suspect && j.ahead > j.size {
		_ = j.f.Truncate(j.size) // zeros do no harm
	}
	return j.f.Close()
}

// datasync writes the data and what is needed to read it (the length), not
// the times.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// syncDir makes renames and new files in dir last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writeFile replaces dir/name by data in one step that lasts.
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
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(temp) // give the space back
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}
