package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/api/tapbroker"
)

// maxFD bounds --fd.
const maxFD = 512

func (t *tool) runCommand() *cobra.Command {
	req := tapbroker.Request{}
	first := 3
	c := &cobra.Command{
		Use: "run (--network NETWORK | --port LINK) -- PROGRAM [ARGUMENT...]", Short: "Run a hypervisor with a port of a network as a file descriptor",
		Long: `Ask vnetd's tap broker for a port, and run PROGRAM, which finds it open as descriptor 3, or with --fd another; with
--queues as that one and the following. In the arguments, {fd} is replaced by the numbers with ":" between, and {mac} by
the guest's Ethernet address. The network's access list says who may; the port is gone when the program is.`,
		Example: `  vnetctl run --network default -- qemu-system-x86_64 ... -netdev tap,id=n,fd=3 -device virtio-net-pci,netdev=n,mac={mac}
  vnetctl run --network lan --queues 4 -- qemu-system-x86_64 ... -netdev tap,id=n,vhost=on,fds={fd}
  vnetctl run --network default -- cloud-hypervisor ... --net fd={fd},mac={mac}`,
		Args: cobra.MinimumNArgs(1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if first < firstExtra || first > maxFD {
				return fmt.Errorf("--fd %d is outside %d to %d", first, firstExtra, maxFD)
			}
			if (req.Network == "") == (req.Port == "") {
				return errors.New("give --network or --port")
			}
			program, err := exec.LookPath(args[0])
			if err != nil {
				return err
			}
			if req.MAC == "" && req.Port == "" {
				req.MAC = tapbroker.AutoMAC
			}
			resp, files, err := tapbroker.Open(cmd.Context(), tapbroker.Socket(), req)
			if err != nil {
				return err
			}
			return become(cmd.Context(), program, args, resp, files, first)
		},
	}
	f := c.Flags()
	f.StringVar(&req.Network, "network", "", "the network to take a port of")
	f.StringVar(&req.Port, "port", "", "a declared port of yours, instead")
	f.StringVar(&req.MAC, "mac", "", "the guest's Ethernet address; picked if not given")
	f.StringVar(&req.Guest, "guest", "", "the guest's name, for DHCP and DNS")
	f.IntVar(&req.Queues, "queues", 1, "how many descriptors")
	f.IntVar(&first, "fd", 3, "the number of the first")
	_ = c.RegisterFlagCompletionFunc("network", t.completeNetworks)
	return c
}

// ended is the exit code of a program that was run.
type ended int

func (e ended) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// become runs a program, which has our terminal, our signals by the terminal and a
// SIGTERM that we get, and ends as it does. It is not in our place, because Go's runtime
// holds the very descriptors that it is to find.
func become(ctx context.Context, program string, args []string, resp tapbroker.Response, files []*os.File, first int) error {
	words := strings.NewReplacer("{fd}", numbers(first, len(files)), "{mac}", resp.MAC)
	for i := range args {
		args[i] = words.Replace(args[i])
	}
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = append(make([]*os.File, first-firstExtra), files...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	// A guest whose port goes with us is not to go on without; the kernel counts the
	// thread as the parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	for _, f := range files {
		f.Close()
	}
	err := cmd.Wait()
	exit := new(exec.ExitError)
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return ended(exit.ExitCode())
	case errors.As(err, &exit):
		return ended(128 + int(exit.Sys().(syscall.WaitStatus).Signal()))
	}
	return err
}

// firstExtra is the first descriptor behind the standard ones.
const firstExtra = 3

func numbers(first, count int) string {
	var out []string
	for i := range count {
		out = append(out, strconv.Itoa(first+i))
	}
	return strings.Join(out, ":")
}
