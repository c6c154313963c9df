package fair

import "slices"

const (
	maxWaiting = 1024 // messages in all lines
	maxMessage = 1600 // octets of one, headers included
)

// Lines are the messages that wait, a line for each port, and in it one for each
// circuit.
type Lines struct {
	byPort  map[Port]*line
	turn    []*line // whose turn it is, in front
	waiting int
	spare   [][]byte // buffers
}

// line is what waits of a port: those of its circuits that have messages, whose
// turn it is in front. Nearly always that is one.
type line struct {
	port    Port
	turn    []*circuit
	waiting int
}

type circuit struct {
	id       Circuit
	messages [][]byte
}

// Add puts a copy of a message at the end of its guest's line. If all lines
// together are too long, the last of the longest is dropped. It says whether
// the message itself waits now.
func (l *Lines) Add(g Guest, message []byte) bool {
	if len(message) > maxMessage {
		return false
	}
	if l.waiting >= maxWaiting && !l.makeRoom(g) {
		return false
	}
	if l.byPort == nil {
		l.byPort = map[Port]*line{}
	}
	own := l.byPort[g.Port]
	if own == nil {
		own = &line{port: g.Port}
		l.byPort[g.Port] = own
		l.turn = append(l.turn, own)
	}
	own.add(g.Circuit, l.copy(message))
	l.waiting++
	return true
}

// makeRoom drops a message of the port that has most, or says that it would have
// to be that of somebody who has no more than the guest.
func (l *Lines) makeRoom(g Guest) bool {
	longest := l.longest()
	c := longest.longest()
	if longest.waiting < 2 || longest.port == g.Port && (c.id == g.Circuit || len(c.messages) < 2) {
		return false
	}
	l.keep(longest.dropLast())
	l.waiting--
	return true
}

// Next takes the message whose turn it is, and false if none waits. It is valid
// until the next call.
func (l *Lines) Next() (Guest, []byte, bool) {
	if l.waiting == 0 {
		return Guest{}, nil, false
	}
	first := l.turn[0]
	id, message := first.next()
	l.turn = l.turn[1:]
	if first.waiting > 0 {
		l.turn = append(l.turn, first)
	} else {
		delete(l.byPort, first.port)
	}
	l.waiting--
	l.keep(message)
	return Guest{first.port, id}, message, true
}

// Len returns how many messages wait.
func (l *Lines) Len() int { return l.waiting }

func (l *Lines) longest() *line {
	return last(l.turn, func(x *line) int { return x.waiting })
}

// last returns the last of those that have most: who came first stays.
func last[T any](all []T, has func(T) int) (most T) {
	longest := -1
	for _, x := range all {
		if n := has(x); n >= longest {
			most, longest = x, n
		}
	}
	return most
}

func (x *line) add(id Circuit, message []byte) {
	x.waiting++
	for _, c := range x.turn {
		if c.id == id {
			c.messages = append(c.messages, message)
			return
		}
	}
	x.turn = append(x.turn, &circuit{id, [][]byte{message}})
}

func (x *line) next() (Circuit, []byte) {
	c := x.turn[0]
	message := c.messages[0]
	c.messages = c.messages[1:]
	x.turn = x.turn[1:]
	if len(c.messages) > 0 {
		x.turn = append(x.turn, c)
	}
	x.waiting--
	return c.id, message
}

func (x *line) longest() *circuit {
	return last(x.turn, func(c *circuit) int { return len(c.messages) })
}

// dropLast drops the last message of the circuit that has most.
func (x *line) dropLast() []byte {
	c := x.longest()
	n := len(c.messages) - 1
	message := c.messages[n]
	c.messages = c.messages[:n]
	x.waiting--
	if n == 0 {
		x.turn = slices.DeleteFunc(x.turn, func(o *circuit) bool { return o == c })
	}
	return message
}

// keep has a buffer used again, after the next one.
func (l *Lines) keep(buffer []byte) {
	if len(l.spare) < maxWaiting && cap(buffer) <= maxMessage {
		l.spare = append(l.spare, buffer)
	}
}

func (l *Lines) copy(message []byte) []byte {
	n := len(l.spare)
	if n < 2 { // the last one may be in use, see Next
		return append(make([]byte, 0, max(len(message), 512)), message...)
	}
	buffer := l.spare[0]
	l.spare[0] = l.spare[n-2]
	l.spare = append(l.spare[:n-2], l.spare[n-1])
	return append(buffer[:0], message...)
}
