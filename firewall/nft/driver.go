package nft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vnetd/vnetd/firewall"
)

// ErrHeld: the socket of another process owns one of our tables. Most likely another vnetd
// runs in this network namespace.
var ErrHeld = errors.New("the table is owned by another process")

// Driver keeps our tables in one network namespace. Its methods may be called
// from any goroutine.
type Driver struct {
	log   *slog.Logger
	watch *watcher
	// flags are what our tables carry: owner and persist, or nothing.
	flags uint32

	mu   sync.Mutex
	sock *socket
	// last is the ruleset that was applied last, and gen the generation in which the kernel
	// has exactly that; 0 if it is not known.
	last firewall.Ruleset
	gen  uint32
	// applied: there is a last ruleset.
	applied bool
	// found is the external change that the last Apply has reverted, and done how.
	found, done string
}

// Open returns a Driver for the network namespace of the calling thread. It
// changes nothing, and fails where nf_tables is missing or not permitted.
func Open(log *slog.Logger) (*Driver, error) {
	sock, err := dial()
	if err != nil {
		return nil, fmt.Errorf("open firewall: %w", err)
	}
	d := &Driver{log: log, sock: sock}
	if d.watch, err = newWatcher(); err == nil {
		d.flags, err = probe(sock)
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("open firewall: %w", err)
	}
	if d.flags == 0 {
		log.Warn("firewall tables can be changed by others: the kernel has no persistent tables with an owner (Linux 6.9)")
	}
	return d, nil
}

// Close gives up the ownership of the tables, which stay in the kernel.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watch != nil {
		d.watch.sock.close()
	}
	return d.sock.close()
}

// probe returns the flags that the kernel supports: owner and persist, or none. The last
// message of its transaction is impossible, so that it is never committed.
func probe(s *socket) (flags uint32, err error) {
	const wanted = tableFlagOwner | tableFlagPersist
	table := firewall.Table{Family: firewall.INet, Name: firewall.TableName + "-probe"}
	impossible := firewall.Table{Family: firewall.INet, Name: firewall.TableName + "-probe-none"}
	err = s.commit([]message{newTable(table, wanted), delTable(impossible)}, 0)
	switch {
	case errors.Is(err, unix.ENOENT): // only the impossible message failed
		return wanted, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return 0, s.available()
	case errors.Is(err, unix.EPERM):
		return 0, fmt.Errorf("change nftables: %w: it needs CAP_NET_ADMIN", unix.EPERM)
	case err == nil:
		return 0, errors.New("probe nftables: the kernel deleted a table that does not exist")
	}
	return 0, fmt.Errorf("probe nftables: %w", err)
}

// Apply makes our tables in the kernel exactly want, in one transaction. If they are already,
// nothing is touched, not even counters, also if another process made them. After an error
// the kernel has the tables of before, or, if the error says that the outcome is unknown,
// either; it is always right to call Apply again. ErrHeld means that another process owns a
// table.
func (d *Driver) Apply(ctx context.Context, want firewall.Ruleset) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found, d.done = "", ""
	for range attempts {
		err := ctx.Err()
		var p plan
		if err == nil {
			p, err = d.planLocked(ctx, want)
		}
		switch {
		case err != nil:
		case len(p.messages) == 0:
			d.last, d.gen, d.applied = want, p.gen, true
			return nil
		default:
			err = d.commitLocked(ctx, p, want)
		}
		if err == nil {
			return nil
		}
		d.gen = 0
		if !errors.Is(err, errStale) && !errors.Is(err, errUnknown) {
			return fmt.Errorf("apply firewall: %w", err)
		}
		d.log.Debug("firewall state is read again", "err", err)
	}
	return fmt.Errorf("apply firewall: tried %d times: %w", attempts, errStale)
}

// Repaired describes, in a line each, the external change that the last Apply has found, and
// what it has done; "" if there was none.
func (d *Driver) Repaired() (found, done string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found, d.done
}

// plan is a transaction: what it does, and the generation for which it was made.
type plan struct {
	gen      uint32
	messages []message
	what     string
	// whole: tables are replaced, so it is worth its cost to read them back. If image is not
	// the zero value, it is what they have to be.
	whole bool
	image image
	// repairs is the drift from the last ruleset.
	repairs string
}

// planLocked returns the transaction to get to want: an edit if the tables in the kernel are
// known, or once they have been read an edit, nothing, or a replacement.
func (d *Driver) planLocked(ctx context.Context, want firewall.Ruleset) (plan, error) {
	gen, err := d.sock.generation(ctx)
	if err != nil {
		return plan{}, err
	}
	if d.gen != 0 && d.gen == gen {
		return d.editLocked(gen, want)
	}
	h, err := d.sock.read(ctx)
	if err != nil {
		return plan{}, err
	}
	for id, t := range h.tables {
		if t.flags&tableFlagOwner != 0 && t.owner != d.sock.port {
			return plan{}, fmt.Errorf("table %s: %w (netlink port %d, usually the pid): is another vnetd running here?", id, ErrHeld, t.owner)
		}
	}
	var repairs string
	if d.applied {
		_, last, err := d.encode(d.last)
		if err != nil {
			return plan{}, err
		}
		if repairs = d.compareLocked(h, last); repairs == "" {
			return d.editLocked(h.gen, want)
		}
	}
	ms, im, err := d.encode(want)
	if err != nil {
		return plan{}, err
	}
	drift := d.compareLocked(h, im)
	if drift == "" { // adopted
		p := plan{gen: h.gen, what: "adopt"}
		for _, t := range want.Tables {
			if h.tables[t.ID()].owner != d.sock.port && d.flags != 0 {
				p.messages = append(p.messages, newTable(t, d.flags))
			}
		}
		return p, nil
	}
	d.log.Debug("firewall tables are replaced", "drift", drift)
	p := plan{gen: h.gen, whole: true, image: im, repairs: repairs, what: firewall.Diff(firewall.Ruleset{}, want).String()}
	if len(want.Tables) == 0 {
		p.what = "delete our tables"
	}
	for _, t := range ours {
		if _, ok := h.tables[t.ID()]; ok {
			p.messages = append(p.messages, delTable(t))
		}
	}
	p.messages = append(p.messages, ms...)
	return p, nil
}

// compareLocked describes how the kernel differs from what was encoded. A table that should
// have an owner and cannot get one counts as different.
func (d *Driver) compareLocked(h state, want image) (drift string) {
	if drift := want.drift(h.image); drift != "" {
		return drift
	}
	for id, t := range h.tables {
		if t.flags&tableFlagPersist != d.flags&tableFlagPersist {
			return "table " + id + " has other flags"
		}
	}
	return ""
}

// encode returns the messages that create the tables of r, and the image of what the kernel
// has then.
func (d *Driver) encode(r firewall.Ruleset) (ms []message, im image, err error) {
	elements := 0
	for _, t := range r.Tables {
		table, err := encodeTable(t)
		if err != nil {
			return nil, im, err
		}
		ms = append(append(ms, newTable(t, d.flags)), table...)
		for i := range t.Sets {
			elements += len(t.Sets[i].Elements)
		}
	}
	im = newImage(elements)
	for _, m := range ms {
		im.add(m)
	}
	return ms, im, nil
}

// editLocked changes what differs between the last ruleset and want.
func (d *Driver) editLocked(gen uint32, want firewall.Ruleset) (plan, error) {
	change := firewall.Diff(d.last, want)
	p := plan{gen: gen, what: change.String(), whole: len(change.Replace) > 0}
	for _, t := range change.Delete {
		p.messages = append(p.messages, delTable(t))
	}
	for _, t := range change.Replace {
		for _, was := range d.last.Tables {
			if was.ID() == t.ID() {
				p.messages = append(p.messages, delTable(t))
			}
		}
		ms, err := encodeTable(t)
		if err != nil {
			return p, err
		}
		p.messages = append(append(p.messages, newTable(t, d.flags)), ms...)
	}
	for _, e := range change.Edits {
		ms, err := encodeEdit(e)
		if err != nil {
			return p, err
		}
		p.messages = append(p.messages, ms...)
	}
	return p, nil
}

// commitLocked runs the plan. Tables that are replaced are read back.
func (d *Driver) commitLocked(ctx context.Context, p plan, want firewall.Ruleset) error {
	next := p.gen + 1
	if next == 0 { // as the kernel does
		next = 1
	}
	own := d.watch.slot(next)
	own.Store(next)
	if err := d.sock.commit(p.messages, p.gen); err != nil {
		own.CompareAndSwap(next, 0)
		return err
	}
	d.log.Info("firewall changed", "what", p.what)
	d.last, d.gen, d.applied = want, next, true
	if p.repairs != "" {
		d.found, d.done = p.repairs, p.what
	}
	if !p.whole {
		return nil
	}
	if p.image.objects == nil {
		var err error
		if _, p.image, err = d.encode(want); err != nil {
			return err
		}
	}
	h, err := d.sock.read(ctx)
	if err != nil {
		return err
	}
	d.gen = h.gen
	if drift := d.compareLocked(h, p.image); drift != "" {
		return fmt.Errorf("read back: %s", drift)
	}
	return nil
}
