package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Counted returns how many packets the counters of the rules in a chain have counted, in
// both tables together. A chain that does not exist has counted none.
func (d *Driver) Counted(ctx context.Context, chain string) (packets uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range ours {
		err := d.sock.dump(ctx, t, unix.NFT_MSG_GETRULE, chain, func(m message) {
			for _, e := range attrs(get(m.attributes(), unix.NFTA_RULE_EXPRESSIONS)) {
				expr := attrs(e.data)
				n := get(attrs(get(expr, unix.NFTA_EXPR_DATA)), unix.NFTA_COUNTER_PACKETS)
				if text(expr, unix.NFTA_EXPR_NAME) == "counter" && len(n) == 8 {
					packets += binary.BigEndian.Uint64(n)
				}
			}
		})
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, errInterrupted) {
			return 0, fmt.Errorf("read the counters of chain %s: %w", chain, err)
		}
	}
	return packets, nil
}
