// Command vnet-bridge-helper is what QEMU runs as -netdev bridge,helper=PATH or
// -netdev tap,helper=PATH, in place of qemu-bridge-helper: it requests a tap on a bridge
// from vnetd's tap broker, and passes its descriptor to QEMU. It needs no privilege: the
// tap broker authorizes the user that runs QEMU.
//
//	vnet-bridge-helper [--use-vnet] [--acl FILE] --br=BRIDGE --fd=N
//
// It exits with 0, or with 1 and a message on standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/tapbroker"
)

// brokerTimeout bounds the request to the tap broker.
const brokerTimeout = 30 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "vnet-bridge-helper: %v\n", err)
		os.Exit(1)
	}
}

// options are those of qemu-bridge-helper, and --acl.
type options struct {
	vnet   bool
	bridge string
	fd     int
	acl    string
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("vnet-bridge-helper", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&o.vnet, "use-vnet", false, "")
	f.StringVar(&o.bridge, "br", "", "")
	f.IntVar(&o.fd, "fd", -1, "")
	f.StringVar(&o.acl, "acl", "", "")
	err := f.Parse(args)
	switch {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.bridge == "":
		err = errors.New("--br is missing")
	case o.fd < 0:
		err = errors.New("--fd is missing")
	}
	if err != nil {
		err = fmt.Errorf("%w; usage: vnet-bridge-helper [--use-vnet] [--acl FILE] --br=BRIDGE --fd=N", err)
	}
	return o, err
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.acl != "" {
		if err := checkACL(o.acl, o.bridge); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	_, files, err := tapbroker.Open(ctx, tapbroker.Socket(), tapbroker.Request{Bridge: o.bridge, NoVnetHeader: !o.vnet})
	if err != nil {
		return err
	}
	// A stream socket passes descriptors only with at least one byte of data.
	if err := unix.Sendmsg(o.fd, []byte{0}, unix.UnixRights(int(files[0].Fd())), nil, 0); err != nil {
		return fmt.Errorf("pass the tap by descriptor %d: %w", o.fd, err)
	}
	return nil
}
