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

// ErrHeld: one of our tables belongs to another process's socket. Most likely
// another vnetd runs in this network namespace.
var ErrHeld = errors.New("the table is held by another process")

// Driver keeps our tables in one network namespace. Its methods may be called
// from any goroutine.
type Driver struct {
	log   *slog.Logger
	watch *watcher
	// flags are what our tables carry: owner and persist, or nothing.
	flags uint32

	mu   sync.Mutex
	sock *socket
	// last is the ruleset that was applied last, and gen the generation in
	// which the kernel is known to hold exactly that; 0 means that it is not
	// known.
	last firewall.Ruleset
	gen  uint32
	// applied: there is a last ruleset.
	applied bool
	// mended is what the last Apply put right.
	mended string
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

// Close releases the tables and leaves them standing.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watch != nil {
		d.watch.close()
	}
	return d.sock.close()
}

// probe finds out whether tables can have an owner and persist. Its transaction
// asks for the impossible last, so that it is never committed.
func probe(s *socket) (flags uint32, err error) {
	const wanted = tableFlagOwner | tableFlagPersist
	table := firewall.Table{Family: firewall.INet, Name: firewall.TableName + "-probe"}
	impossible := firewall.Table{Family: firewall.INet, Name: firewall.TableName + "-probe-none"}
	err = s.commit([]message{newTable(table, wanted), delTable(impossible)}, 0)
	switch {
	case errors.Is(err, unix.ENOENT): // only the impossible was refused
		return wanted, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return 0, availability(s)
	case errors.Is(err, unix.EPERM):
		return 0, fmt.Errorf("change nftables: %w: it needs CAP_NET_ADMIN", unix.EPERM)
	case err == nil:
		return 0, errors.New("probe nftables: the kernel did what it cannot do")
	}
	return 0, fmt.Errorf("probe nftables: %w", err)
}

// availability tells a kernel without nf_tables from one that only lacks owners.
func availability(s *socket) error {
	_, err := s.generation(context.Background())
	return err
}

// Apply makes the kernel hold exactly want in our tables, in one transaction. If
// it does already, nothing is touched, not even counters, whoever put it there.
// After an error the kernel holds what it held before, or, if the error says that
// the outcome is unknown, one or the other; calling Apply again is always right.
// ErrHeld means that another process owns a table.
func (d *Driver) Apply(ctx context.Context, want firewall.Ruleset) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.applyLocked(ctx, want); err != nil {
		d.gen = 0
		return fmt.Errorf("apply firewall: %w", err)
	}
	return nil
}

// Remove deletes our tables: everything passes, and nothing is translated.
func (d *Driver) Remove(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.applyLocked(ctx, firewall.Ruleset{}); err != nil {
		d.gen = 0
		return fmt.Errorf("remove firewall: %w", err)
	}
	return nil
}

// Verify looks whether the kernel holds what was applied last. If not, drift says
// in a line what is different, and the next Apply will mend it.
func (d *Driver) Verify(ctx context.Context) (drift string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.applied {
		return "nothing was applied yet", nil
	}
	h, err := d.sock.look(ctx)
	if err != nil {
		return "", fmt.Errorf("verify firewall: %w", err)
	}
	_, last, err := d.encode(d.last)
	if err != nil {
		return "", fmt.Errorf("verify firewall: %w", err)
	}
	d.gen = 0
	if drift = d.compareLocked(h, last); drift == "" {
		d.gen = h.gen
	}
	return drift, nil
}

// Mended says in a line what the last Apply found changed by others and put
// right; "" if nothing was.
func (d *Driver) Mended() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mended
}

func (d *Driver) applyLocked(ctx context.Context, want firewall.Ruleset) error {
	d.mended = ""
	for range attempts {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := d.planLocked(ctx, want)
		if err != nil {
			return err
		}
		if len(p.messages) == 0 {
			d.rememberLocked(want, p.gen)
			return nil
		}
		err = d.commitLocked(ctx, p, want)
		if errors.Is(err, errStale) || errors.Is(err, errUnknown) {
			d.log.Debug("firewall looks again", "err", err)
			d.gen = 0
			continue
		}
		return err
	}
	return fmt.Errorf("tried %d times: %w", attempts, errStale)
}

func (d *Driver) rememberLocked(r firewall.Ruleset, gen uint32) {
	d.last, d.gen, d.applied = r, gen, true
}

// plan is a transaction to be: what it does, and the generation it was made for.
type plan struct {
	gen      uint32
	messages []message
	what     string
	// whole: tables are made anew, so a look afterwards is worth its cost. If image is
	// not the zero value, it is what that look has to find.
	whole bool
	image image
	// mends is the drift from the last ruleset that made a look necessary.
	mends string
}

// planLocked decides how to get to want: by an edit of what is known to be in the
// kernel, or after a look by an edit, by nothing or by a replacement.
func (d *Driver) planLocked(ctx context.Context, want firewall.Ruleset) (plan, error) {
	gen, err := d.sock.generation(ctx)
	if err != nil {
		return plan{}, err
	}
	if d.gen != 0 && d.gen == gen {
		return d.editLocked(gen, want)
	}
	h, err := d.sock.look(ctx)
	if err != nil {
		return plan{}, err
	}
	if err := d.heldLocked(h); err != nil {
		return plan{}, err
	}
	var mends string
	if d.applied {
		_, last, err := d.encode(d.last)
		if err != nil {
			return plan{}, err
		}
		if mends = d.compareLocked(h, last); mends == "" {
			return d.editLocked(h.gen, want)
		}
	}
	ms, im, err := d.encode(want)
	if err != nil {
		return plan{}, err
	}
	drift := d.compareLocked(h, im)
	if drift == "" {
		return d.adopt(h, want), nil
	}
	d.log.Debug("firewall replaces its tables", "because", drift)
	p := plan{gen: h.gen, whole: true, image: im, mends: mends, what: firewall.Diff(firewall.Ruleset{}, want).String()}
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

// heldLocked reports a table that another socket owns.
func (d *Driver) heldLocked(h holding) error {
	for id, t := range h.tables {
		if t.flags&tableFlagOwner != 0 && t.owner != d.sock.port {
			return fmt.Errorf("table %s: %w (netlink port %d, often its pid): is another vnetd running here?",
				id, ErrHeld, t.owner)
		}
	}
	return nil
}

// compareLocked says how the kernel differs from what was encoded. A table that should
// have an owner and cannot get one counts as different.
func (d *Driver) compareLocked(h holding, want image) (drift string) {
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

// encode returns the messages that make the tables of r where there are none, and
// what the kernel holds then.
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

// adopt takes tables over that hold what is wanted already.
func (d *Driver) adopt(h holding, want firewall.Ruleset) plan {
	p := plan{gen: h.gen, what: "adopt"}
	for _, t := range want.Tables {
		if h.tables[t.ID()].owner != d.sock.port && d.flags != 0 {
			p.messages = append(p.messages, newTable(t, d.flags))
		}
	}
	return p
}

// commitLocked runs the plan. Tables made as a whole are read back: what was sent
// is then not believed but seen.
func (d *Driver) commitLocked(ctx context.Context, p plan, want firewall.Ruleset) error {
	next := p.gen + 1
	if next == 0 { // as the kernel does
		next = 1
	}
	d.watch.expect(next)
	if err := d.sock.commit(p.messages, p.gen); err != nil {
		d.watch.forget(next)
		return err
	}
	d.log.Info("firewall changed", "what", p.what)
	d.rememberLocked(want, next)
	d.mended = p.mends
	if !p.whole {
		return nil
	}
	if p.image.objects == nil {
		var err error
		if _, p.image, err = d.encode(want); err != nil {
			return err
		}
	}
	h, err := d.sock.look(ctx)
	if err != nil {
		return err
	}
	d.gen = h.gen
	if drift := d.compareLocked(h, p.image); drift != "" {
		return fmt.Errorf("read back: %s", drift)
	}
	return nil
}
