package daemon

import (
	"context"
	"log/slog"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd; without systemd it does nothing.
func notify(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("systemd not notified", "err", err)
	}
}

// watchdog feeds systemd's watchdog for as long as alive answers in time: a
// stuck loop is restarted, and its networks stand meanwhile.
func watchdog(ctx context.Context, log *slog.Logger, alive func(context.Context) error) error {
	every, err := sd.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return err
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, every/3)
		err := alive(ask)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.Error("engine does not answer", "err", err)
		default:
			notify(log, sd.SdNotifyWatchdog)
		}
	}
}
