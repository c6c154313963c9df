package fair

import "slices"

const (
	maxWaiting = 1024 // messages in all queues
	maxMessage = 1600 // octets of one, headers included
)

// A Queue holds the messages that wait, a queue for each port, and in it one for each
// circuit.
type Queue struct {
	byPort  map[Port]*portQueue
	order   []*portQueue // the next one to be served in front
	waiting int
	spare   [][]byte // buffers
}

// A portQueue has the circuits of a port that have messages, the next one to be served in
// front. Nearly always that is one.
type portQueue struct {
	port    Port
	order   []*circuit
	waiting int
}

type circuit struct {
	id       Circuit
	messages [][]byte
}

// Add appends a copy of a message to the queue of its origin. If too many messages wait, the
// last one of the longest queue is dropped. It reports whether the message itself waits now.
func (q *Queue) Add(o Origin, message []byte) bool {
	if len(message) > maxMessage {
		return false
	}
	if q.waiting >= maxWaiting {
		longest := mostWaiting(q.order, func(x *portQueue) int { return x.waiting })
		c := mostWaiting(longest.order, func(c *circuit) int { return len(c.messages) })
		if longest.waiting < 2 || longest.port == o.Port && (c.id == o.Circuit || len(c.messages) < 2) {
			return false // it would be a message of an origin that has no more than this one
		}
		n := len(c.messages) - 1
		q.reuse(c.messages[n])
		c.messages = c.messages[:n]
		if n == 0 {
			longest.order = slices.DeleteFunc(longest.order, func(x *circuit) bool { return x == c })
		}
		longest.waiting--
		q.waiting--
	}
	x := q.byPort[o.Port]
	if x == nil {
		if q.byPort == nil {
			q.byPort = map[Port]*portQueue{}
		}
		x = &portQueue{port: o.Port}
		q.byPort[o.Port] = x
		q.order = append(q.order, x)
	}
	message = q.copy(message)
	x.waiting++
	q.waiting++
	for _, c := range x.order {
		if c.id == o.Circuit {
			c.messages = append(c.messages, message)
			return true
		}
	}
	x.order = append(x.order, &circuit{o.Circuit, [][]byte{message}})
	return true
}

// Next takes the next message, and returns false if none waits. The message is valid until
// the next call.
func (q *Queue) Next() (Origin, []byte, bool) {
	if q.waiting == 0 {
		return Origin{}, nil, false
	}
	x := q.order[0]
	c := x.order[0]
	message := c.messages[0]
	c.messages, x.order = c.messages[1:], x.order[1:]
	if len(c.messages) > 0 {
		x.order = append(x.order, c)
	}
	x.waiting--
	q.order = q.order[1:]
	if x.waiting > 0 {
		q.order = append(q.order, x)
	} else {
		delete(q.byPort, x.port)
	}
	q.waiting--
	q.reuse(message)
	return Origin{x.port, c.id}, message, true
}

// Len returns how many messages wait.
func (q *Queue) Len() int { return q.waiting }

// mostWaiting returns the last of those that have most: earlier ones stay.
func mostWaiting[T any](all []T, waiting func(T) int) (most T) {
	longest := -1
	for _, x := range all {
		if n := waiting(x); n >= longest {
			most, longest = x, n
		}
	}
	return most
}

// reuse has copy use a buffer, after the next one.
func (q *Queue) reuse(buffer []byte) {
	if len(q.spare) < maxWaiting && cap(buffer) <= maxMessage {
		q.spare = append(q.spare, buffer)
	}
}

func (q *Queue) copy(message []byte) []byte {
	n := len(q.spare)
	if n < 2 { // the last one may be in use, see Next
		return append(make([]byte, 0, max(len(message), 512)), message...)
	}
	buffer := q.spare[0]
	q.spare[0] = q.spare[n-2]
	q.spare = append(q.spare[:n-2], q.spare[n-1])
	return append(buffer[:0], message...)
}
