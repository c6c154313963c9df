package netdrv

// Counters are what has passed a link since it was made, from the guest's point of
// view: what it received is Rx.
type Counters struct {
	RxBytes, RxPackets, RxDrops uint64
	TxBytes, TxPackets, TxDrops uint64
}

// Swapped is what the other end of the link sees.
func (c Counters) Swapped() Counters {
	return Counters{c.TxBytes, c.TxPackets, c.TxDrops, c.RxBytes, c.RxPackets, c.RxDrops}
}
