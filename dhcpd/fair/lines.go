package fair

const (
	maxWaiting = 1024 // messages in all lines
	maxMessage = 1600 // octets of one, headers included
)

// Lines are the messages that wait, a line for each port.
type Lines struct {
	byPort  map[Port]*line
	turn    []*line // whose turn it is, in front
	waiting int
	spare   [][]byte // buffers
}

type line struct {
	port     Port
	messages [][]byte
}

// Add puts a copy of a message at the end of its port's line. If all lines
// together are too long, the last of the longest is dropped. It says whether
// the message itself waits now.
func (l *Lines) Add(port Port, message []byte) bool {
	if len(message) > maxMessage {
		return false
	}
	if l.byPort == nil {
		l.byPort = map[Port]*line{}
	}
	own := l.byPort[port]
	if l.waiting >= maxWaiting {
		longest := l.longest()
		if longest == own || len(longest.messages) < 2 {
			return false
		}
		l.dropLast(longest)
	}
	if own == nil {
		own = &line{port: port}
		l.byPort[port] = own
		l.turn = append(l.turn, own)
	}
	own.messages = append(own.messages, l.copy(message))
	l.waiting++
	return true
}

// Next takes the message whose turn it is, and false if none waits. It is valid
// until the next call.
func (l *Lines) Next() (Port, []byte, bool) {
	if l.waiting == 0 {
		return 0, nil, false
	}
	first := l.turn[0]
	message := first.messages[0]
	l.turn = l.turn[1:]
	if len(first.messages) > 1 {
		first.messages = first.messages[1:]
		l.turn = append(l.turn, first)
	} else {
		delete(l.byPort, first.port)
	}
	l.waiting--
	l.keep(message)
	return first.port, message, true
}

// Len returns how many messages wait.
func (l *Lines) Len() int { return l.waiting }

func (l *Lines) longest() *line {
	var longest *line
	for _, x := range l.turn {
		if longest == nil || len(x.messages) > len(longest.messages) {
			longest = x
		}
	}
	return longest
}

func (l *Lines) dropLast(x *line) {
	n := len(x.messages) - 1
	l.keep(x.messages[n])
	x.messages = x.messages[:n]
	l.waiting--
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
