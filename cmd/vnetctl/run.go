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

// The range of --fd: above the standard streams, and a bound.
const minFD, maxFD = 3, 512

func runCommand(t *tool) *cobra.Command {
	req := tapbroker.Request{}
	first := minFD
	c := &cobra.Command{
		Use: "run (--network NETWORK | --port LINK) -- PROGRAM [ARGUMENT...]", Short: "Run a hypervisor with a port of a network as a file descriptor",
		Long: `Request a port from vnetd's tap broker, and run PROGRAM with it as file descriptor 3, or the one that --fd names; with
--queues, as that and the following ones. In the arguments, {fd} is replaced by the numbers, separated by ":", and {mac} by
the guest's MAC address. The network's access list is checked. The port is removed when the program exits.`,
		Example: `  vnetctl run --network default -- qemu-system-x86_64 ... -netdev tap,id=n,fd=3 -device virtio-net-pci,netdev=n,mac={mac}
  vnetctl run --network lan --queues 4 -- qemu-system-x86_64 ... -netdev tap,id=n,vhost=on,fds={fd}
  vnetctl run --network default -- cloud-hypervisor ... --net fd={fd},mac={mac}`,
		Args: cobra.MinimumNArgs(1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if first < minFD || first > maxFD {
				return fmt.Errorf("--fd %d is outside %d to %d", first, minFD, maxFD)
			}
			if (req.Network == "") == (req.Port == "") {
				return errors.New("run: specify either --network or --port")
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
			return runWith(cmd.Context(), program, args, resp, files, first)
		},
	}
	f := c.Flags()
	f.StringVar(&req.Network, "network", "", "network to create a port in")
	f.StringVar(&req.Port, "port", "", "declared port to use instead of a new one")
	f.StringVar(&req.MAC, "mac", "", "MAC address of the guest (default: generated)")
	f.StringVar(&req.Guest, "guest", "", "name of the guest, for DHCP and DNS")
	f.IntVar(&req.Queues, "queues", 1, "number of queues, each with a file descriptor")
	f.IntVar(&first, "fd", minFD, "number of the first file descriptor")
	_ = c.RegisterFlagCompletionFunc("network", t.complete(networks))
	return c
}

// exitStatus is the exit code of the program that was run.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// runWith runs a program with the descriptors and returns its exit status. The program
// has this terminal, its signals, and any SIGTERM that is sent to this process. It is a
// child and not executed in place, because Go's runtime holds the very descriptors
// that the program expects.
func runWith(ctx context.Context, program string, args []string, resp tapbroker.Response, files []*os.File, first int) error {
	var numbers []string
	for i := range files {
		numbers = append(numbers, strconv.Itoa(first+i))
	}
	placeholders := strings.NewReplacer("{fd}", strings.Join(numbers, ":"), "{mac}", resp.MAC)
	for i := range args {
		args[i] = placeholders.Replace(args[i])
	}
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = append(make([]*os.File, first-minFD), files...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	// The port is removed with this process, so the guest must end with it, too. The
	// kernel sends Pdeathsig when the thread that started the child ends.
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
		return exitStatus(exit.ExitCode())
	case errors.As(err, &exit):
		return exitStatus(128 + int(exit.Sys().(syscall.WaitStatus).Signal()))
	}
	return err
}
