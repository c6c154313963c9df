// Package tapbroker asks a vnetd's tap broker for a port of a network, as the file
// descriptors of a tap or macvtap, without being root.
//
// The door is a stream socket, RUNTIME/tap.sock. A client connects, sends one
// [Request] as a line of JSON of at most [MaxLine] bytes, and gets one [Response] as a
// line of JSON. The descriptors, one a queue, come with its first byte (SCM_RIGHTS).
// Then the door closes the connection. Who may have what is the kernel's word about the
// peer (SO_PEERCRED, SO_PEERGROUPS) against the network's access list.
package tapbroker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// MaxLine bounds a request and a response, with the newline.
const MaxLine = 4096

// MaxQueues is how many descriptors a response has at most.
const MaxQueues = 64

// DefaultRuntimeDir is where a vnetd has its door unless told otherwise.
const DefaultRuntimeDir = "/run/vnetd"

// AutoMAC as a Request's MAC asks for one.
const AutoMAC = "auto"

// A Request asks for a port. Exactly one of Network, Bridge and Port is set.
type Request struct {
	// Network is a network's name.
	Network string `json:"network,omitempty"`
	// Bridge is the name of a network's bridge, for who knows no more.
	Bridge string `json:"bridge,omitempty"`
	// Port is the link of a port that an administrator has declared, to be opened by
	// its owner. Nothing else is said of it.
	Port string `json:"port,omitempty"`
	// MAC is what the guest is going to have, or AutoMAC. Empty: the guest's own
	// business; but a macvtap always has one.
	MAC string `json:"mac,omitempty"`
	// Guest is the guest's name, for DHCP and DNS; it may be empty.
	Guest string `json:"guest,omitempty"`
	// Queues is how many descriptors are wanted; 0 is one.
	Queues int `json:"queues,omitempty"`
	// NoVnetHeader leaves out virtio's header in front of a tap's frames.
	NoVnetHeader bool `json:"noVnetHeader,omitempty"`
}

// A Response says what the port is, or why there is none.
type Response struct {
	Error   string `json:"error,omitempty"`
	Network string `json:"network,omitempty"`
	Link    string `json:"link,omitempty"`
	Kind    string `json:"kind,omitempty"` // tap or macvtap
	MAC     string `json:"mac,omitempty"`
	Queues  int    `json:"queues,omitempty"`
}

// Refused is the door's word that there is no port for this peer.
type Refused struct{ Why string }

func (r *Refused) Error() string { return r.Why }

// Socket is the door that the environment names: tap.sock below VNETD_RUNTIME_DIR, or
// the usual one.
func Socket() string {
	dir := os.Getenv("VNETD_RUNTIME_DIR")
	if dir == "" {
		dir = DefaultRuntimeDir
	}
	return filepath.Join(dir, "tap.sock")
}

// Open asks the door at a socket for a port. The files are the caller's to close; a
// tap is gone with the last of them. The error is a *Refused if the door refused.
func Open(ctx context.Context, socket string, req Request) (Response, []*os.File, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return Response{}, nil, fmt.Errorf("no vnetd answers at %s: %w", socket, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := json.Marshal(req)
	if err != nil {
		return Response{}, nil, err
	}
	if _, err := c.Write(append(line, '\n')); err != nil {
		return Response{}, nil, fmt.Errorf("ask %s: %w", socket, err)
	}
	resp, files, err := receive(c.(*net.UnixConn))
	if err == nil && resp.Error != "" {
		err = &Refused{resp.Error}
	}
	if err == nil && len(files) != max(resp.Queues, 1) {
		err = fmt.Errorf("%s sent %d descriptors for %d queues", socket, len(files), resp.Queues)
	}
	if err != nil {
		closeAll(files)
		return Response{}, nil, err
	}
	return resp, files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func receive(c *net.UnixConn) (resp Response, files []*os.File, err error) {
	first, oob := make([]byte, MaxLine), make([]byte, unix.CmsgSpace(4*MaxQueues))
	n, oobn, _, _, err := c.ReadMsgUnix(first, oob)
	if err != nil {
		return resp, nil, fmt.Errorf("no answer: %w", err)
	}
	if files, err = parseRights(oob[:oobn]); err != nil {
		return resp, files, err
	}
	line, err := ReadLine(io.MultiReader(bytes.NewReader(first[:n]), c))
	if err != nil {
		return resp, files, fmt.Errorf("no answer: %w", err)
	}
	if err := json.Unmarshal(line, &resp); err != nil {
		return resp, files, fmt.Errorf("the answer is not one of a tap broker: %w", err)
	}
	return resp, files, nil
}

func parseRights(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read descriptors: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "tap"))
		}
	}
	return files, nil
}

// ReadLine reads a line of at most MaxLine bytes, and returns it without its newline.
func ReadLine(r io.Reader) ([]byte, error) {
	line, err := bufio.NewReaderSize(io.LimitReader(r, MaxLine), MaxLine).ReadSlice('\n')
	switch {
	case err == nil:
		return line[:len(line)-1], nil
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("a line is longer than %d bytes", MaxLine)
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	}
	return nil, err
}
