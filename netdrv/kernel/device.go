package kernel

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// deviceTime is how long udev may take to make a device and to give it to us.
const deviceTime = 3 * time.Second

// awaitDevice waits until a device is there and may be opened.
func awaitDevice(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, deviceTime)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		err := unix.Access(path, unix.R_OK|unix.W_OK)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s, which udev makes and gives to vnetd's group: %w", path, err)
		case <-look.C:
		}
	}
}
