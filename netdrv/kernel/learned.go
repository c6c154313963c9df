package kernel

import (
	"context"
	"encoding/binary"
	"maps"
	"sync"

	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/netdrv"
)

// LearnedMACs returns the Ethernet addresses that bridges have learned behind links, by the
// links' indexes. What a bridge has forgotten (ageing_time) is remembered here for as
// long as the link is there, if one address only was seen behind it.
func (k *Kernel) LearnedMACs(ctx context.Context) (map[int][]netdrv.MAC, error) {
	entries, err := k.FDBEntries(ctx)
	if err != nil {
		return nil, err
	}
	out := map[int][]netdrv.MAC{}
	for _, e := range entries {
		out[e.Index] = append(out[e.Index], e.MAC)
	}
	k.memory.merge(out)
	return out, nil
}

// RestoreMACs adds what was learned behind links earlier, by the links' indexes.
func (k *Kernel) RestoreMACs(seen map[int]netdrv.MAC) {
	for index, mac := range seen {
		k.memory.learn(index, mac)
	}
}

// StoredMACs returns which single address was seen behind links, by the links' indexes.
func (k *Kernel) StoredMACs() map[int]netdrv.MAC { return k.memory.known() }

// memory holds which MAC was learned behind a link, for as long as the link lives: the
// zero MAC where there were several. It is one entry a link, whatever guests invent.
type learnedMACs struct {
	mu  sync.Mutex
	mac map[int]netdrv.MAC
}

func (m *learnedMACs) learn(index int, mac netdrv.MAC) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mac == nil {
		m.mac = map[int]netdrv.MAC{}
	}
	if was, ok := m.mac[index]; ok && was != mac {
		mac = netdrv.MAC{}
	}
	m.mac[index] = mac
}

func (m *learnedMACs) forget(index int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.mac, index)
}

func (m *learnedMACs) known() map[int]netdrv.MAC {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.mac)
}

// merge takes what bridges know now, and adds what they knew of other links.
func (m *learnedMACs) merge(now map[int][]netdrv.MAC) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mac == nil {
		m.mac = map[int]netdrv.MAC{}
	}
	for index, macs := range now {
		if len(macs) == 1 {
			m.mac[index] = macs[0]
		}
	}
	for index, mac := range m.mac {
		if len(now[index]) == 0 && !mac.IsZero() {
			now[index] = []netdrv.MAC{mac}
		}
	}
}

// note takes what a message says of an address behind a bridge's port, or of a link
// that is gone.
func (m *learnedMACs) note(msg mdnetlink.Message) {
	switch {
	case msg.Header.Type == unix.RTM_DELLINK && len(msg.Data) >= linkHeader && msg.Data[0] == unix.AF_UNSPEC:
		m.forget(int(binary.NativeEndian.Uint32(msg.Data[4:])))
	case msg.Header.Type == unix.RTM_NEWNEIGH && len(msg.Data) >= unix.SizeofNdMsg && msg.Data[0] == unix.AF_BRIDGE:
		state, attrs := binary.NativeEndian.Uint16(msg.Data[8:]), msg.Data[unix.SizeofNdMsg:]
		mac := attribute(attrs, unix.NDA_LLADDR)
		if state&unix.NUD_PERMANENT == 0 && len(mac) == len(netdrv.MAC{}) && attribute(attrs, unix.NDA_MASTER) != nil {
			m.learn(int(binary.NativeEndian.Uint32(msg.Data[4:])), netdrv.MAC(mac))
		}
	}
}
