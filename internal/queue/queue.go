package pool

// list is a queue that its members may leave from anywhere, in constant time.
// Members bring their own place, so nothing is allocated.
type list[T any] struct {
	first, last *place[T]
	len         int
}

// place is a member's place in one list at a time.
type place[T any] struct {
	of         *T
	in         *list[T] // nil if in none
	prev, next *place[T]
}

// add puts a member at the end, from whatever list it is in.
func (l *list[T]) add(p *place[T]) {
	p.leave()
	p.in, p.prev = l, l.last
	if l.last == nil {
		l.first = p
	} else {
		l.last.next = p
	}
	l.last = p
	l.len++
}

// leave takes a member out of its list, if it is in one.
func (p *place[T]) leave() {
	if p.in == nil {
		return
	}
	if p.prev == nil {
		p.in.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		p.in.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.in.len--
	p.in, p.prev, p.next = nil, nil, nil
}
